"""Labels that came before their observation: kept for as long as an observation would wait."""

from __future__ import annotations

import msgspec

from stream_app.core.store import StateReader
from stream_app.events import LabelValue

_PREFIX = b"e"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, bool | int | float | str, int, int]).decode


class EarlyLabel(msgspec.Struct, frozen=True, gc=False):
    """A label, when it came, and until when (event time) it is kept."""

    offset: int
    label: LabelValue
    ts_ms: int
    deadline_ms: int


class EarlyLabels:
    """At most `early_max` labels; at the bound the oldest is dropped. `by_id` is for reading."""

    def __init__(self, early_max: int) -> None:
        self.early_max = early_max
        self.by_id: dict[str, EarlyLabel] = {}
        self._added: dict[int, str] = {}
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, observation_id: str) -> EarlyLabel | None:
        """Return the label that waits for an observation, or None."""
        return self.by_id.get(observation_id)

    def add(self, observation_id: str, early: EarlyLabel) -> None:
        """Keep a label."""
        self.by_id[observation_id] = early
        self._added[early.offset] = observation_id

    def pop(self, observation_id: str) -> EarlyLabel | None:
        """Remove and return the label that waits for an observation, or None."""
        early = self.by_id.get(observation_id)
        if early is not None:
            self._remove(observation_id)
        return early

    def expire(self, now_ms: int, at_most: int) -> int:
        """Drop up to `at_most` of the oldest labels that are overdue or beyond the bound."""
        dropped = 0
        while dropped < at_most and self.by_id:
            oldest = next(iter(self.by_id))
            overdue = self.by_id[oldest].deadline_ms < now_ms
            if not overdue and len(self.by_id) <= self.early_max:
                break
            self._remove(oldest)
            dropped += 1
        return dropped

    def _remove(self, observation_id: str) -> None:
        offset = self.by_id.pop(observation_id).offset
        if self._added.pop(offset, None) is None:
            self._gone.add(offset)

    def changes(self) -> int:
        """Return how many entries the next checkpoint will write or delete."""
        return len(self._added) + len(self._gone)

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand what changed to a checkpoint."""
        for offset, name in self._added.items():
            writes[_name(offset)] = self._encode(name)
        for offset in self._gone:
            writes[_name(offset)] = None
        self._added.clear()
        self._gone.clear()

    def _encode(self, name: str) -> bytes:
        early = self.by_id[name]
        return _encode((name, early.label, early.ts_ms, early.deadline_ms))

    def state(self) -> list[object]:
        """Return all labels as plain values, in the order in which they came."""
        return [
            [early.offset, name, early.label, early.ts_ms, early.deadline_ms]
            for name, early in self.by_id.items()
        ]

    @classmethod
    def load(cls, early_max: int, reader: StateReader, family: str) -> EarlyLabels:
        """Return the labels that were saved."""
        labels = cls(early_max)
        for key, value in reader.scan(family, _PREFIX, bytes([_PREFIX[0] + 1]), 1 << 62):
            offset = int.from_bytes(key[1:], "big")
            name, label, ts_ms, deadline_ms = _decode(value)
            labels.by_id[name] = EarlyLabel(offset, label, ts_ms, deadline_ms)
        return labels


def _name(offset: int) -> bytes:
    return _PREFIX + offset.to_bytes(8, "big")
