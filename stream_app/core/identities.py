"""Which observation ids were accepted, which of them wait for a label, and what became of them.

Ids live in segments of 1,024 in the order of acceptance. A checkpoint writes the segments that
changed, so remembering an id costs a fraction of a key of its own.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Any

import msgspec

from stream_app.core.store import StateReader
from stream_app.events import LabelValue

SIZE = 1024
_SHIFT = 10
_PREFIX = b"i"
_STALE_MAX = 64  # entries of the schedule that may be out of date, beyond as many as are not
_NEVER = 1 << 63  # later than every deadline
TIMED_OUT = 0  # an outcome; None: waits for its label; (label,): joined

Outcome = Sequence[LabelValue] | int | None
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[str], list[Any], list[int]]).decode


class _Segment:
    """Up to 1,024 consecutive ids with their outcomes and deadlines (0 once no longer waiting)."""

    __slots__ = ("deadlines", "digest", "ids", "outcomes", "waiting")

    def __init__(self, ids: list[str], outcomes: list[Outcome], deadlines: list[int]) -> None:
        self.ids = ids
        self.outcomes = outcomes
        self.deadlines = deadlines
        self.waiting = outcomes.count(None)
        self.digest: bytes | None = None

    def encode(self) -> bytes:
        return _encode((self.ids, self.outcomes, self.deadlines))

    def due(self) -> int | None:
        """Return the earliest deadline among those that wait."""
        if not self.waiting:
            return None
        if self.waiting == len(self.deadlines):
            return min(self.deadlines)
        return min(
            deadline
            for deadline, outcome in zip(self.deadlines, self.outcomes, strict=True)
            if outcome is None
        )


class Identities:
    """Accepted ids by sequence number; the newest `ids_max` of them are known.

    An id is forgotten, and if it still waits is timed out, once `ids_max` more were accepted.
    """

    def __init__(self, ids_max: int) -> None:
        self.next_seq = 0
        self.waiting = 0
        self._seqs: dict[str, int] = {}
        self._segments: dict[int, _Segment] = {}
        self._first = 0
        self.bound(ids_max)
        self._dirty: set[int] = set()
        self._dropped: list[int] = []
        # (a deadline not later than the segment's earliest, segment): looked at when it is due
        self._due: list[tuple[int, int]] = []
        self._due_of: dict[int, int] = {}
        self._quiet_until_ms = _NEVER

    def bound(self, ids_max: int) -> None:
        """Know the newest `ids_max` ids from now on."""
        self.ids_max = ids_max
        # The sequence number at which the first segment will have left the window.
        self._full_at = ((self._first + 1) << _SHIFT) + ids_max

    def find(self, observation_id: str) -> int | None:
        """Return the sequence number of an id that is still known."""
        seq = self._seqs.get(observation_id)
        return None if seq is None or seq < self.next_seq - self.ids_max else seq

    def outcome(self, seq: int) -> Outcome:
        """Return what became of an observation."""
        return self._segments[seq >> _SHIFT].outcomes[seq & (SIZE - 1)]

    def deadline(self, seq: int) -> int:
        """Return until when, in event time, an observation waits."""
        return self._segments[seq >> _SHIFT].deadlines[seq & (SIZE - 1)]

    def add(self, observation_id: str, outcome: Outcome, deadline_ms: int) -> int:
        """Accept an id and return its sequence number."""
        seq = self.next_seq
        self.next_seq = seq + 1
        number = seq >> _SHIFT
        segment = self._segments.get(number)
        if segment is None:
            segment = self._segments[number] = _Segment([], [], [])
        segment.ids.append(observation_id)
        segment.outcomes.append(outcome)
        segment.digest = None
        self._dirty.add(number)
        self._seqs[observation_id] = seq
        if outcome is None:
            segment.deadlines.append(deadline_ms)
            segment.waiting += 1
            self.waiting += 1
            if deadline_ms < self._due_of.get(number, deadline_ms + 1):
                self._schedule(number, deadline_ms)
        else:
            segment.deadlines.append(0)
        return seq

    def settle(self, seq: int, outcome: Outcome) -> None:
        """Write down what became of an observation that waited."""
        number = seq >> _SHIFT
        segment = self._segments[number]
        segment.outcomes[seq & (SIZE - 1)] = outcome
        segment.deadlines[seq & (SIZE - 1)] = 0
        segment.waiting -= 1
        segment.digest = None
        self.waiting -= 1
        self._dirty.add(number)

    def expire(self, now_ms: int) -> list[int]:
        """Time out what is due in at most one segment; returns the sequence numbers.

        Also forgets at most one segment that has left the window, with what still waits in it.
        """
        expired: list[int] = []
        if self.next_seq >= self._full_at:
            expired = self._forget_first()
        if self._due and self._due[0][0] < now_ms:
            expired += self._expire_segment(now_ms)
        return expired

    def rests(self, now_ms: int) -> bool:
        """Tell, as cheaply as can be, that `expire` has nothing to do."""
        return now_ms <= self._quiet_until_ms and self.next_seq < self._full_at

    def expire_all(self, now_ms: int) -> list[int]:
        """Time out whatever is due; returns the sequence numbers.

        Forgets nothing: how often this goes round depends on a schedule that a restart renews.
        """
        expired: list[int] = []
        while self._due and self._due[0][0] < now_ms:
            expired += self._expire_segment(now_ms)
        return expired

    def _expire_segment(self, now_ms: int) -> list[int]:
        """Time out what is due in the segment that is due first.

        Scheduled deadlines are lower bounds (a label may have settled the earliest since), and a
        restored schedule is exact: only true deadlines may decide, or restarts would show.
        """
        while self._due and self._due[0][0] < now_ms:
            due, number = heapq.heappop(self._due)
            self._quiet_until_ms = self._due[0][0] if self._due else _NEVER
            segment = self._segments.get(number)
            if segment is None or self._due_of.get(number) != due:
                continue
            del self._due_of[number]
            earliest = segment.due()
            if earliest != due:
                if earliest is not None:
                    self._schedule(number, earliest)
                continue
            return self._expire_due(number, segment, now_ms)
        return []

    def _expire_due(self, number: int, segment: _Segment, now_ms: int) -> list[int]:
        first = number << _SHIFT
        expired = [
            first + i
            for i, outcome in enumerate(segment.outcomes)
            if outcome is None and segment.deadlines[i] < now_ms
        ]
        for seq in expired:
            self.settle(seq, TIMED_OUT)
        left = segment.due()
        if left is not None:
            self._schedule(number, left)
        return expired

    def _forget_first(self) -> list[int]:
        number = self._first
        self._first += 1
        self.bound(self.ids_max)
        segment = self._segments[number]
        first = number << _SHIFT
        expired = [first + i for i, outcome in enumerate(segment.outcomes) if outcome is None]
        for seq in expired:
            self.settle(seq, TIMED_OUT)
        for i, observation_id in enumerate(segment.ids):
            if self._seqs.get(observation_id) == first + i:
                del self._seqs[observation_id]
        del self._segments[number]
        self._due_of.pop(number, None)
        self._dirty.discard(number)
        self._dropped.append(number)
        return expired

    def _schedule(self, number: int, deadline_ms: int) -> None:
        self._due_of[number] = deadline_ms
        heapq.heappush(self._due, (deadline_ms, number))
        if len(self._due) > 2 * len(self._due_of) + _STALE_MAX:
            # Segments that were forgotten before they were due, while event time hardly moves.
            self._due = [(due, number) for number, due in self._due_of.items()]
            heapq.heapify(self._due)
        self._quiet_until_ms = self._due[0][0]

    def changes(self) -> int:
        """Return how many entries the next checkpoint will write or delete."""
        return len(self._dirty) + len(self._dropped)

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand the changed segments to a checkpoint."""
        for number in self._dirty:
            writes[_PREFIX + number.to_bytes(8, "big")] = self._segments[number].encode()
        for number in self._dropped:
            writes[_PREFIX + number.to_bytes(8, "big")] = None
        self._dirty.clear()
        self._dropped.clear()

    def digest(self) -> bytes:
        """Return a digest over all ids, outcomes and deadlines."""
        total = hashlib.sha256()
        for number in range(self._first, (self.next_seq + SIZE - 1) >> _SHIFT):
            segment = self._segments[number]
            if segment.digest is None:
                segment.digest = hashlib.sha256(segment.encode()).digest()
            total.update(segment.digest)
        return total.digest()

    @classmethod
    def load(cls, ids_max: int, next_seq: int, reader: StateReader, family: str) -> Identities:
        """Return the identities that were saved."""
        ids = cls(ids_max)
        ids.next_seq = next_seq
        rows = reader.scan(family, _PREFIX, bytes([_PREFIX[0] + 1]), 1 << 62)
        for name, value in rows:
            number = int.from_bytes(name[1:], "big")
            segment = ids._segments[number] = _Segment(*_decode(value))
            first = number << _SHIFT
            ids._seqs.update(zip(segment.ids, range(first, first + SIZE), strict=False))
            ids.waiting += segment.waiting
            due = segment.due()
            if due is not None:
                ids._schedule(number, due)
        ids._first = min(ids._segments, default=next_seq >> _SHIFT)
        ids.bound(ids_max)
        return ids


def saved_outcome(reader: StateReader, family: str, seq: int) -> tuple[bool, Outcome]:
    """Return (whether a saved state still knows an observation, what became of it there)."""
    found = reader.get(family, _PREFIX + (seq >> _SHIFT).to_bytes(8, "big"))
    if found is None:
        return False, None
    outcomes = _decode(found)[1]
    place = seq & (SIZE - 1)
    return (True, outcomes[place]) if place < len(outcomes) else (False, None)
