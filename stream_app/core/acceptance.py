"""The fold before any model: duplicates, event time, waiting observations, early labels, joins."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from stream_app.codec.decode import Gate
from stream_app.codec.incoming import UNDECLARED, Admitted
from stream_app.core.accepted import Counters, Joined, Parked, decode_parked
from stream_app.core.early_labels import EarlyLabel, EarlyLabels
from stream_app.core.identities import TIMED_OUT, Identities
from stream_app.core.settings import AcceptanceSettings
from stream_app.core.store import StateReader
from stream_app.core.table import Table
from stream_app.core.undeclared import Undeclared
from stream_app.core.watermark import Watermark
from stream_app.events import LabelValue, Refusal
from stream_app.learning import tasks
from stream_app.records import Record

FAMILY = "acceptance"
EARLY_PER_RECORD = 4
_encode = msgspec.msgpack.Encoder().encode


class Acceptance:
    """One partition's acceptance; knows no model. `load` restores what `collect` handed out."""

    def __init__(self, settings: AcceptanceSettings, since: int, reader: StateReader) -> None:
        self.counters = Counters()
        self.watermark = Watermark()
        self.ids = Identities(settings.limits.ids_max)
        self.early = EarlyLabels(settings.limits.early_max)
        self._parked: Table[Parked] = Table(reader, FAMILY, b"p", _encode, decode_parked)
        self.change(settings, since)

    def change(self, settings: AcceptanceSettings, since: int) -> None:
        """Put other settings into force from the next record on, whose offset is `since`."""
        self.settings = settings
        label_gate = tasks.load(settings.task).label
        self.gate = Gate(settings.limits, settings.features, label_gate, since)
        self.undeclared = Undeclared(settings.features)
        self._wait_ms = settings.wait_ms
        self.ids.bound(settings.limits.ids_max)
        self.early.early_max = settings.limits.early_max

    def observe(self, admitted: Admitted, record: Record) -> tuple[int, LabelValue | None, int]:
        """Accept an observation; raises `Refusal` for a duplicate.

        Returns (sequence number, label if it is already known, delay of that label in ms).
        """
        event: Any = admitted.event
        ids, counters = self.ids, self.counters
        if ids.find(event.id) is not None:
            raise Refusal("duplicate", "id", f"{event.id!r} was accepted before")
        counters.observations += 1
        if admitted.schema == UNDECLARED:
            self.undeclared.count(admitted.features)
        if admitted.dropped:
            counters.features_dropped += admitted.dropped
        label, delay_ms = admitted.label, 0
        if self.early.by_id:
            label, delay_ms = self._early_label(event, label)
        if label is not None:
            counters.labels_joined += 1
            return ids.add(event.id, (label,), 0), label, delay_ms
        now_ms = self.watermark.now_ms
        ts_ms = event.ts_ms
        deadline_ms = (ts_ms if ts_ms > now_ms else now_ms) + self._wait_ms
        seq = ids.add(event.id, None, deadline_ms)
        parked = Parked(record.offset, ts_ms, admitted.key, admitted.features, admitted.schema)
        self._parked.add(seq, parked)
        return seq, None, 0

    def _early_label(self, event: Any, inline: LabelValue | None) -> tuple[LabelValue | None, int]:
        early = self.early.pop(event.id)
        if early is None:
            return inline, 0
        if early.deadline_ms < self.watermark.now_ms:
            self.counters.labels_unknown += 1
            return inline, 0
        if inline is None:
            return early.label, early.ts_ms - event.ts_ms
        self._count_second(inline, early.label)
        return inline, 0

    def label(self, admitted: Admitted, record: Record) -> Joined | None:
        """Join a label to its observation; None when there is nothing to learn from it now.

        Raises `Refusal` when it contradicts an earlier label of the same observation.
        """
        event: Any = admitted.event
        label = admitted.label
        assert label is not None  # noqa: S101 - the gate lets no label pass without one
        seq = self.ids.find(event.id)
        if seq is None:
            self._keep_early(event, label, record)
            return None
        outcome = self.ids.outcome(seq)
        if outcome is not None and not isinstance(outcome, int):
            if not self._count_second(outcome[0], label):
                raise Refusal("conflicting_label", "label", _conflict(event.id, outcome[0], label))
            return None
        if outcome == TIMED_OUT or self.ids.deadline(seq) < self.watermark.now_ms:
            self.counters.labels_late += 1
            return None
        self.ids.settle(seq, (label,))
        parked = self._parked.pop(seq)
        assert parked is not None  # noqa: S101 - waiting and parked are one and the same
        self.counters.labels_joined += 1
        return Joined(
            seq,
            event.id,
            parked.key,
            parked.features,
            parked.schema,
            label,
            event.ts_ms - parked.ts_ms,
        )

    def _keep_early(self, event: Any, label: LabelValue, record: Record) -> None:
        kept = self.early.get(event.id)
        now_ms = self.watermark.now_ms
        if kept is not None:
            if kept.deadline_ms >= now_ms:
                if not self._count_second(kept.label, label):
                    detail = _conflict(event.id, kept.label, label)
                    raise Refusal("conflicting_label", "label", detail)
                return
            self.early.pop(event.id)
            self.counters.labels_unknown += 1
        self.counters.labels_early += 1
        deadline_ms = max(event.ts_ms, now_ms) + self._wait_ms
        self.early.add(event.id, EarlyLabel(record.offset, label, event.ts_ms, deadline_ms))

    def _count_second(self, first: LabelValue, second: LabelValue) -> bool:
        """Count a second label; True when it says what the first said."""
        if first == second:
            self.counters.labels_duplicate += 1
            return True
        self.counters.labels_conflicting += 1
        return False

    def pass_time(self, ts_ms: int) -> Sequence[int]:
        """Move event time on after a record was applied; returns what timed out by that."""
        now_ms = self.watermark.advance(ts_ms)
        if self.ids.rests(now_ms) and not self.early.by_id:
            return ()
        return self._expire(now_ms)

    def set_time(self, ts_ms: int) -> list[int]:
        """Obey a `time` control: everything due by then times out at once."""
        self.watermark.set(ts_ms)
        now_ms = self.watermark.now_ms
        expired = self._time_out(self.ids.expire_all(now_ms))
        while dropped := self.early.expire(now_ms, 1000):
            self.counters.labels_unknown += dropped
        return expired

    def _expire(self, now_ms: int) -> Sequence[int]:
        expired = self._time_out(self.ids.expire(now_ms))
        self.counters.labels_unknown += self.early.expire(now_ms, EARLY_PER_RECORD)
        return expired

    def _time_out(self, expired: list[int]) -> list[int]:
        for seq in expired:
            self._parked.pop(seq)
        self.counters.timed_out += len(expired)
        return expired

    def changes(self) -> int:
        """Return how many entries the next checkpoint will write or delete."""
        return self._parked.changes() + self.ids.changes() + self.early.changes()

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand all that changed to a checkpoint."""
        self._parked.collect(writes)
        self.ids.collect(writes)
        self.early.collect(writes)
        scalars = (self.ids.next_seq, self.watermark.state(), msgspec.to_builtins(self.counters))
        writes[b"s"] = _encode(scalars)
        writes[b"u"] = _encode(self.undeclared.seen)

    def saved(self) -> None:
        """Take note that what was handed out is in the store now."""
        self._parked.saved()

    def digest(self) -> bytes:
        """Return a digest over the state.

        The features of a waiting observation are those of its record, which the chain digest
        covers, so ids, outcomes and deadlines stand for them. Which undeclared features were seen
        changes nothing that follows, and is left out.
        """
        state = [
            self.watermark.state(),
            list(msgspec.to_builtins(self.counters).items()),
            self.ids.next_seq,
            self.ids.digest(),
            self.early.state(),
        ]
        return hashlib.sha256(_encode(state)).digest()

    @classmethod
    def load(cls, settings: AcceptanceSettings, since: int, reader: StateReader) -> Acceptance:
        """Return the acceptance that was saved, or a new one."""
        acceptance = cls(settings, since, reader)
        scalars = reader.get(FAMILY, b"s")
        if scalars is not None:
            next_seq, watermark, counters = msgspec.msgpack.decode(scalars)
            acceptance.watermark = Watermark.of(watermark)
            acceptance.counters = msgspec.convert(counters, Counters)
            seen = reader.get(FAMILY, b"u")
            acceptance.undeclared.seen = {} if seen is None else msgspec.msgpack.decode(seen)
            ids_max, early_max = settings.limits.ids_max, settings.limits.early_max
            acceptance.ids = Identities.load(ids_max, next_seq, reader, FAMILY)
            acceptance.early = EarlyLabels.load(early_max, reader, FAMILY)
        return acceptance


def _conflict(observation_id: str, first: LabelValue, second: LabelValue) -> str:
    return (
        f"{observation_id!r} is labelled {str(first)[:64]!r}; "
        f"a second label says {str(second)[:64]!r}; the first one stands"
    )
