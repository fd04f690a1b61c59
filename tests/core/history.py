"""A history: records in a log, folded by a real host that stops, saves and crashes where told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import public_key
from stream_app.core.accepted import Counters
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Pipeline
from stream_app.core.rehearsal import SEAL, any_time
from stream_app.core.settings import Settings
from stream_app.core.topics import Topics
from stream_app.events import Control, Event
from stream_app.hosts.checkpoint_pace import Pace
from stream_app.hosts.controls import signed
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import KEY_NAME
from stream_app.learning.digests import structural_digest
from stream_app.records import Headers
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore

PRIVATE_KEY = bytes(range(32))
Step = int | Literal["save", "crash"]


class Entry(NamedTuple):
    """One record before it is in a log; `hole` offsets before it are given to nobody."""

    value: bytes
    key: bytes | None
    append_ms: int
    hole: int = 0


@dataclass(frozen=True)
class Outcome:
    """All that a fold shows: outputs by topic, chain, digests, counters.

    `models` are structural digests by (version, key), of the keys that were asked for. `rows` is
    what the store holds at the end; no part of what makes two outcomes equal.
    """

    outputs: dict[str, list[tuple[bytes | None, bytes, Headers]]]
    next_offset: int
    chain: bytes
    acceptance: bytes
    versions: dict[str, bytes]
    counters: Counters
    waiting: int
    early: int
    rows: dict[str, dict[bytes, bytes]] = field(compare=False)
    models: dict[tuple[str, str], bytes] = field(default_factory=dict)


class History:
    """A pipeline's log in memory with some records, and as many folds of it as one likes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.entries: list[Entry] = []
        self.manifest = self._registered(MemoryLog(log_id="history"))

    def _registered(self, log: MemoryLog) -> Any:
        keys = {KEY_NAME: public_key(PRIVATE_KEY).hex()}
        settings = any_time(self.pipeline.settings())
        return register(log, self.pipeline, lambda: keys, settings=settings)

    def add(self, *events: Event, append_ms: int | None = None) -> None:
        """Append events, controls signed; the append time is the event's by default."""
        for event in events:
            if isinstance(event, Control):
                event = signed(event, self.manifest, PRIVATE_KEY)  # noqa: PLW2901
            new = encode_event(event)
            at = event.ts_ms if append_ms is None else append_ms
            self.entries.append(Entry(new.value, new.key, at))

    def add_settings(self, settings: Settings, ts_ms: int, control_id: str = "settings") -> None:
        """Append a signed settings control."""
        self.add(Control(control_id, ts_ms, "settings", settings=any_time(settings).plain()))

    def fold(
        self,
        steps: Iterable[Step] = (),
        *,
        memory: Memory = Memory(),  # noqa: B008 - frozen
        keys: Sequence[str] = (),
    ) -> Outcome:
        """Fold the records: a number processes up to that many, and at the end come the rest.

        `keys` are those whose models the outcome is to tell.
        """
        log = MemoryLog(log_id="history")
        self._registered(log)
        events = Topics(self.pipeline.name).events
        offset = 0
        for entry in self.entries:
            offset += entry.hole
            log.append_at(events, 0, offset, entry.append_ms, entry.key, entry.value)
            offset += 1
        fold = _Fold(self, log, memory)
        for step in [*steps, 1 << 30]:
            fold.take(step)
        return fold.outcome(keys)


class _Fold:
    def __init__(self, history: History, log: MemoryLog, memory: Memory) -> None:
        self._history, self._log, self._memory = history, log, memory
        self._store = MemoryStore()
        self._open()

    def _open(self) -> None:
        self._host = PartitionHost(
            self._log,
            self._history.pipeline,
            self._history.manifest,
            0,
            open_store=lambda: self._store,
            seal=SEAL,
            pace=Pace(every_s=1e9),
            memory=self._memory,
        )
        while self._host.relearning:
            self._host.step()

    def take(self, step: Step) -> None:
        if step == "save":
            self._host.checkpoint()
        elif step == "crash":
            self._host.close()
            self._store = self._store.reopened()
            self._open()
        else:
            left = step
            while left > 0 and (done := self._host.step(left)):
                left -= done

    def outcome(self, keys: Sequence[str] = ()) -> Outcome:
        processor = self._host.processor
        topics = Topics(self._history.pipeline.name).all(self._history.pipeline.versions)[1:]
        return Outcome(
            {
                topic: [
                    (record.key, record.value, record.headers)
                    for record in self._log.read(topic, 0, 0, records_max=1 << 30)
                ]
                for topic in topics
            },
            processor.next_offset,
            processor.chain,
            processor.acceptance.digest(),
            {version.name: version.digest() for version in processor.versions},
            processor.acceptance.counters,
            processor.acceptance.ids.waiting,
            len(processor.acceptance.early),
            {
                family: dict(self._store.scan(family, b"", None, 1 << 30))
                for family in self._store.families()
            },
            {
                (version.name, key): structural_digest(
                    version.models.peek(key).model, version.plan.pickles.extra
                )
                for version in processor.versions
                for key in keys
            },
        )


def values(outcome: Outcome, topic: str) -> list[dict[str, Any]]:
    """Return a topic's outputs as plain mappings; `topic` without the pipeline's name."""
    rows: Sequence[tuple[bytes | None, bytes, Headers]] = next(
        rows for name, rows in outcome.outputs.items() if name.split(".", 1)[1] == topic
    )
    return [msgspec.json.decode(value) for _, value, _ in rows]
