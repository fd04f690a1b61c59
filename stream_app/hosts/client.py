"""`open_log`: produce events and read outputs from Python, without a shell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.core.log import Log
from stream_app.core.log_rules import unknown_topic
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.events import Control, Event, Label, Observation, Refusal
from stream_app.hosts.event_positions import require_meant
from stream_app.hosts.log_url import DEFAULT_BROKER, open_broker
from stream_app.hosts.manifests import pipelines, read_manifest, settings_in_force
from stream_app.outputs import AnyOutput
from stream_app.records import NewRecord, Record, format_position

if TYPE_CHECKING:
    from stream_app.core.settings import Settings
    from stream_app.hosts.drafts import EntryGate

READ_MAX = 1000
_decode = msgspec.json.Decoder(AnyOutput).decode


class LogClient:
    """One log, for programs: `send` events to a pipeline, `read` what it puts out.

    Usable as a context manager. Any number of processes may use one log at once.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self._gate: tuple[tuple[str, Settings], EntryGate] | None = None

    def send(
        self, *events: Event | Iterable[Event], pipeline: str | None = None, check: bool = False
    ) -> list[str]:
        """Append events durably, all or none; returns their positions.

        The gate looks at an event when it is processed: one that it refuses is in the log all the
        same, and becomes a dead letter. With `check` it looks before anything is sent, as it does
        in `produce`. `pipeline` may be left out when the log has just one.

        Raises `UsageError` when there is no such pipeline (`stream-app run` or `produce` starts
        one), an event cannot be written, or the check refuses one.
        """
        name = self._pipeline(pipeline)
        topic = Topics(name).events
        records = [encode_event(_uncontrolled(event)) for event in _flat(events)]
        if check:
            self._check(name, records)
        places = self.log.append(topic, records)
        return [format_position(topic, partition, offset) for partition, offset in places]

    def read(
        self,
        topic: str,
        *,
        partition: int | None = None,
        offset: int | None = None,
        follow: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[AnyOutput | Record]:
        """Yield a topic's outputs, partition by partition; an event topic's records as they are.

        Starts at `offset`, by default the earliest. With `follow` it waits for more, at most
        `timeout_s` without any.
        """
        count = self.log.topics().get(topic)
        if count is None:
            # Raises as well, or else says that the topic is there and hidden from this user.
            self.log.bounds(topic, 0)
            raise unknown_topic(self.log.url, topic, self.log.topics())
        if partition is not None:
            require_meant(topic, partition, count)
        if offset is not None and (type(offset) is not int or offset < 0):
            raise UsageError(
                f"{offset!r} is no offset", attempt="an offset of 0 or more, or None: the earliest"
            )
        chosen = range(count) if partition is None else [partition]
        begin = {p: self.log.bounds(topic, p)[0] if offset is None else offset for p in chosen}
        for record in read_records(self.log, topic, begin, follow=follow, timeout_s=timeout_s):
            yield record if topic.endswith(".events") else _decode(record.value)

    def _check(self, name: str, records: Iterable[NewRecord]) -> None:
        """Raise `UsageError` for the first record that the gate in force refuses."""
        from stream_app.hosts.drafts import EntryGate  # noqa: PLC0415 - brings River in

        settings = settings_in_force(self.log, read_manifest(self.log, name))
        if self._gate is None or self._gate[0] != (name, settings):
            self._gate = (name, settings), EntryGate(settings)
        for i, record in enumerate(records):
            try:
                self._gate[1].check(record.value)
            except Refusal as refusal:
                field = f"{refusal.field}: " if refusal.field else ""
                raise UsageError(
                    f"event {i} would be refused ({refusal.reason}): {field}{refusal.detail}",
                    attempt="repair it; nothing was sent",
                ) from None

    def _pipeline(self, name: str | None) -> str:
        if name is not None:
            return name
        found = pipelines(self.log)
        if len(found) == 1:
            return found[0]
        raise UsageError(
            f"{self.log.url} has {len(found)} pipelines: {', '.join(found) or 'none'}",
            attempt='send(..., pipeline="name"); stream-app run FILE starts a pipeline',
        )

    def close(self) -> None:
        """Let go of the log."""
        self.log.close()

    def __enter__(self) -> LogClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_log(url: str = DEFAULT_BROKER, *, create: bool = True) -> LogClient:
    """Open the log that `url` names: `sqlite:///path` or a path; raises `UsageError` for others."""
    if not isinstance(url, str):
        raise UsageError(
            f"{url!r} names no log", attempt=f'open_log("{DEFAULT_BROKER}"), or a path'
        )
    return LogClient(open_broker(url, create=create))


def read_records(
    log: Log,
    topic: str,
    offsets: dict[int, int],
    *,
    follow: bool = False,
    timeout_s: float | None = None,
) -> Iterator[Record]:
    """Yield records from (partition, offset) on; `follow` waits for more without spinning."""
    offsets = dict(offsets)
    last = time.monotonic()
    while True:
        moved = False
        for partition in offsets:
            while records := log.read(topic, partition, offsets[partition], records_max=READ_MAX):
                moved = True
                yield from records
                offsets[partition] = records[-1].offset + 1
        if not follow:
            return
        now = time.monotonic()
        if moved:
            last = now
        elif timeout_s is not None and now - last >= timeout_s:
            return
        for partition, offset in offsets.items():
            log.wait(topic, partition, offset, 0.25 / len(offsets))


def _flat(events: Iterable[Any]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, (Observation, Label, Control)):
            yield event
        elif isinstance(event, Iterable) and not isinstance(event, (Mapping, str, bytes)):
            yield from _flat(event)
        else:
            raise UsageError(
                f"a {type(event).__name__} is no event",
                attempt="Observation(...) or Label(...) of stream_app, or a list of them",
            )


def _uncontrolled(event: Event) -> Event:
    if isinstance(event, Control):
        raise UsageError(
            f"control {event.id!r} is not for one partition",
            attempt="stream-app apply: controls are signed and go to every partition",
        )
    return event
