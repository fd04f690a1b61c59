"""The test driver: one more host of the same core, in memory, for pytest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import public_key
from stream_app.core.accepted import Counters
from stream_app.core.pipeline import Pipeline
from stream_app.core.rehearsal import SEAL, any_time
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.events import Control, Event, Label, Observation
from stream_app.hosts.controls import Signer, signed, to_every_partition
from stream_app.hosts.importing import import_file
from stream_app.hosts.log_url import DEFAULT_STATE
from stream_app.hosts.partition_host import PartitionHost, Store, nothing
from stream_app.hosts.pipeline_file import require_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import KEY_NAME, StateDirectory
from stream_app.near_names import no_version
from stream_app.outputs import AnyOutput
from stream_app.records import Headers
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore

_decode = msgspec.json.Decoder(AnyOutput).decode
# A key that signs nothing but controls of tests in memory.
_TEST_KEY = bytes(range(32))
_ORDER = ("dead-letters", "predictions", "evaluations", "drift-alerts")


class Driver:
    """Sends events through a pipeline and returns what it puts out.

    Made-up clocks are welcome: unless the pipeline declares its own earliest time, `ts_ms` may be
    any number from 0 on, and a record's append time is the latest `ts_ms` so far. Without
    `made_up_clocks` times are judged as live judges them. Usable as a context manager.
    """

    def __init__(self, pipeline: Pipeline, *, made_up_clocks: bool = True) -> None:
        self.pipeline = require_pipeline(pipeline, "the argument of Driver")
        self._topics = Topics(self.pipeline.name)
        self._now_ms = 0
        self.log = MemoryLog(clock_ms=lambda: self._now_ms)
        declared = self.pipeline.settings()
        settings = any_time(declared) if made_up_clocks else declared
        self._manifest = register(
            self.log,
            self.pipeline,
            lambda: {KEY_NAME: public_key(_TEST_KEY).hex()},
            settings=settings,
        )
        self._store = MemoryStore()
        self._read: dict[str, int] = {}
        self._controls = 0
        self._open()

    def _open(self) -> None:
        store: Callable[[], Store] = lambda: self._store  # noqa: E731 - a name for its type
        self._host = PartitionHost(
            self.log,
            self.pipeline,
            self._manifest,
            0,
            open_store=store,
            seal=SEAL,
            reached=nothing,
        )
        while self._host.relearning:
            self._host.step()

    def send(self, *events: Event) -> list[AnyOutput]:
        """Append events, process them, and return the outputs they caused, in source order."""
        for event in events:
            if isinstance(event, Control):
                raise UsageError(
                    "the driver signs its own controls", attempt="driver.advance(timedelta(...))"
                )
            if not isinstance(event, (Observation, Label)):
                raise UsageError(
                    f"a {type(event).__name__} is no event",
                    attempt="driver.send(Observation(...), Label(...)), one argument each",
                )
        for event in events:
            self._now_ms = max(self._now_ms, event.ts_ms)
        self.log.append(self._topics.events, [encode_event(event) for event in events])
        return self._process()

    def send_bytes(
        self,
        value: bytes,
        key: bytes | None = None,
        headers: Headers = (),
        *,
        at_ms: int | None = None,
    ) -> list[AnyOutput]:
        """Append a raw record, as a careless producer would, and return what it caused.

        `at_ms` is its append time, by default the latest time so far.
        """
        self._now_ms = max(self._now_ms, at_ms or 0)
        offset = self.log.bounds(self._topics.events, 0)[1]
        self.log.append_at(self._topics.events, 0, offset, self._now_ms, key, value, headers)
        return self._process()

    def advance(self, by: timedelta) -> list[AnyOutput]:
        """Let event time pass (a signed `time` control); what is overdue then times out.

        Raises `UsageError` for what is no duration, or a negative one: event time never goes back.
        """
        if not isinstance(by, timedelta):
            raise _no_time(by)
        if by < timedelta(0):
            raise _no_time(by)
        watermark = self._host.processor.acceptance.watermark.now_ms
        ts_ms = watermark + by // timedelta(milliseconds=1)
        self._now_ms = max(self._now_ms, ts_ms)
        return self._order("time", ts_ms)

    def promote(self, version: str) -> list[AnyOutput]:
        """Make another version the champion, from the next event on."""
        if version not in self.pipeline.versions:
            raise no_version(version, self.pipeline.name, self.pipeline.versions)
        return self._order("promote", self._now_ms, version=version)

    def import_file(
        self, version: str, path: str | Path, *, public_key: str | None = None
    ) -> list[AnyOutput]:
        """Let a version that is declared with `start="file"` begin from one, as `import` does.

        It is signed by `public_key`, or by a key of the state directory.
        """
        import_file(
            self.log,
            self.pipeline,
            self._manifest,
            StateDirectory(Path(DEFAULT_STATE)),
            lambda: Signer(KEY_NAME, _TEST_KEY),
            version,
            Path(path),
            public_key=public_key,
            ts_ms=self._now_ms,
        )
        return self._process()

    def _order(self, action: str, ts_ms: int, **fields: Any) -> list[AnyOutput]:
        self._controls += 1
        control = Control(f"{action}-{self._controls}", ts_ms, action, **fields)
        records = to_every_partition(signed(control, self._manifest, _TEST_KEY), self._manifest)
        self.log.append(self._topics.events, records)
        return self._process()

    def checkpoint(self) -> None:
        """Save the state, as live does now and then."""
        self._host.checkpoint()

    def crash(self) -> None:
        """Lose the memory, as kill -9 would, and start again from the last checkpoint."""
        self._host.close()
        self._store = self._store.reopened()
        self._open()

    @property
    def counters(self) -> Counters:
        """What became of the records so far."""
        return self._host.processor.acceptance.counters

    @property
    def champion(self) -> str:
        """The version whose predictions downstream would read now."""
        commit = self._host.commit
        return self.pipeline.initial_champion if commit is None else commit.seat.champion

    @property
    def waiting(self) -> int:
        """How many observations wait for their label."""
        return self._host.processor.acceptance.ids.waiting

    def model(self, version: str | None = None, *, key: str = "") -> Any:
        """Return a version's live River model, by default the champion's; do not change it."""
        name = version if version is not None else self.champion
        for fold in self._host.processor.versions:
            if fold.name == name:
                return fold.models.peek(key).model
        raise no_version(name, self.pipeline.name, self.pipeline.versions)

    def outputs(self, topic: str | None = None) -> list[AnyOutput]:
        """Return all outputs so far, of one topic ("predictions", "shadow.v2", ...) or of all."""
        names = [topic] if topic is not None else self._output_topics()
        rows: list[AnyOutput] = []
        for name in names:
            records = self.log.read(f"{self.pipeline.name}.{name}", 0, 0, records_max=1 << 30)
            rows += [_decode(record.value) for record in records]
        return rows

    def _process(self) -> list[AnyOutput]:
        while self._host.step():
            pass
        rows: list[AnyOutput] = []
        for name in self._output_topics():
            topic = f"{self.pipeline.name}.{name}"
            records = self.log.read(topic, 0, self._read.get(name, 0), records_max=1 << 30)
            self._read[name] = self._read.get(name, 0) + len(records)
            rows += [_decode(record.value) for record in records]
        return sorted(rows, key=lambda output: output.source.offset)

    def _output_topics(self) -> list[str]:
        return [*_ORDER, *(f"shadow.{name}" for name in self.pipeline.versions)]

    def close(self) -> None:
        """Let go of everything."""
        self._host.close()
        self.log.close()

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _no_time(by: object) -> UsageError:
    return UsageError(f"{by!r} is no time to let pass", attempt="timedelta(days=3)")
