"""A log in memory for tests: the same promises within one process, and powers no real log has."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from uuid import uuid4

import msgspec

from stream_app.codec.partitioning import partitions_for, require_partition
from stream_app.core.log import DiskUse, LedgerPlace, Owner, Sources
from stream_app.core.log_rules import (
    released,
    require_bounded_read,
    require_current,
    require_newest,
    require_plain_key,
    require_same_counts,
    require_value,
    unknown_topic,
    value_released,
)
from stream_app.errors import UsageError
from stream_app.records import Headers, NewRecord, Output, Record

_by_offset = attrgetter("offset")
_by_append_time = attrgetter("timestamp_ms")


class _Partition(msgspec.Struct):
    records: list[Record] = msgspec.field(default_factory=list)
    start_offset: int = 0
    next_offset: int = 0
    append_ms: int = 0


class _Standing(msgspec.Struct):
    """Who may write a ledger's partition, and from which position."""

    epoch: int = 0
    next_offset: int | None = None


class MemoryLog:
    """A `Log` that lives and dies with its object; safe for threads.

    Beyond the protocol `append_at` sets offsets (with holes, as Kafka's have) and append times.
    A second claim fences the first one, since within a process nobody has to die for it.
    """

    keeps_ledgers_in_topics = False
    every_offset_is_a_record = False  # `append_at` makes holes

    def __init__(
        self,
        *,
        log_id: str | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._log_id = log_id or uuid4().hex
        self._clock_ms = clock_ms
        self._topics: dict[str, list[_Partition]] = {}
        self._ledger: dict[tuple[str, int, str], bytes] = {}
        self._standings: dict[tuple[str, int], _Standing] = {}
        self._value_epochs: dict[LedgerPlace, int] = {}
        self._changed = threading.Condition()
        self._closed = False

    @property
    def url(self) -> str:
        """How a person names this log."""
        return "memory:"

    @property
    def log_id(self) -> str:
        """The identity of this log."""
        return self._log_id

    def topic_id(self, topic: str) -> str:  # noqa: ARG002
        """Return nothing: no topic is ever deleted."""
        return ""

    def topics(self) -> Mapping[str, int]:
        """Return the partition count of every topic."""
        with self._usable():
            return {topic: len(self._topics[topic]) for topic in sorted(self._topics)}

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Create what is missing; raises `UsageError` when a count differs from the present."""
        with self._usable():
            present = {topic: len(parts) for topic, parts in self._topics.items()}
            for topic in require_same_counts(partitions, present):
                self._topics[topic] = [_Partition() for _ in range(partitions[topic])]

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """Append, all or none; returns each record's (partition, offset)."""
        with self._usable():
            partitions = partitions_for(topic, records, len(self._partitions(topic)))
            return [
                (partition, self._add(topic, partition, record))
                for record, partition in zip(records, partitions, strict=True)
            ]

    def append_at(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes,
        headers: Headers = (),
    ) -> None:
        """Append one record at an offset and append time of the test's choice.

        Offsets between are holes for ever. Raises `UsageError` for an offset given before; the
        append time may be anything, also earlier than the last.
        """
        with self._usable():
            held = self._partition(topic, partition)
            if offset < held.next_offset:
                raise UsageError(
                    f"Offset {offset} of {topic}/{partition} was given before.",
                    attempt=f"append at {held.next_offset} or above.",
                )
            held.records.append(Record(topic, partition, offset, timestamp_ms, key, value, headers))
            held.next_offset = offset + 1
            held.append_ms = timestamp_ms
            self._changed.notify_all()

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 1 << 24
    ) -> list[Record]:
        """Return records from `offset` on, in order, at least one if there is one."""
        require_bounded_read(records_max, bytes_max)
        with self._usable():
            records = self._partition(topic, partition).records
            first = bisect_left(records, offset, key=_by_offset)
            return _within(records[first : first + records_max], bytes_max)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset still kept, first offset not yet given)."""
        with self._usable():
            held = self._partition(topic, partition)
            return held.start_offset, held.next_offset

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until `offset` may be readable; False when the time ran out."""
        with self._usable():
            held = self._partition(topic, partition)
            self._changed.wait_for(
                lambda: self._closed or held.next_offset > offset, timeout=max(timeout_s, 0)
            )
            self._usable()
            return held.next_offset > offset

    def claim(self, ledger: str, partition: int) -> MemoryClaim:
        """Fence any previous owner of this ledger's partition and own it."""
        with self._usable():
            standing = self._standings.setdefault((ledger, partition), _Standing())
            standing.epoch += 1
            return MemoryClaim(self, ledger, partition, standing.epoch)

    def ledger_get(self, ledger: str, partition: int, key: str) -> bytes | None:
        """Return a ledger value, or None."""
        with self._usable():
            return self._ledger.get((ledger, partition, key))

    def ledger_put(
        self, ledger: str, partition: int, key: str, value: bytes, *, expected: bytes | None
    ) -> bool:
        """Set a ledger value if it still equals `expected`; False when it does not."""
        require_plain_key(key)
        with self._usable():
            if self._ledger.get((ledger, partition, key)) != expected:
                return False
            self._ledger[ledger, partition, key] = value
            return True

    def append_with_ledger(
        self,
        topic: str,
        records: Sequence[NewRecord],
        place: LedgerPlace,
        value: bytes,
        *,
        expected: bytes | None,
    ) -> list[tuple[int, int]] | None:
        """Append and set a ledger value as one step; None when it is not `expected`."""
        require_plain_key(place.key)
        with self._usable():
            if self.ledger_get(place.ledger, place.partition, place.key) != expected:
                return None
            return self._append_and_set(topic, records, place, value)

    def claim_value(self, place: LedgerPlace) -> MemoryValueClaim:
        """Fence any previous owner of a ledger value and own it."""
        require_plain_key(place.key)
        with self._usable():
            epoch = self._value_epochs[place] = self._value_epochs.get(place, 0) + 1
            return MemoryValueClaim(self, place, epoch)

    def sources(self) -> Sources:
        """Return this log: topics are topics here, whoever writes them."""
        return self

    def retain(self, topic: str, partition: int, *, from_offset: int) -> int:
        """Delete the records below `from_offset`; returns how many there were."""
        with self._usable():
            held = self._partition(topic, partition)
            end = min(from_offset, held.next_offset)
            deleted = bisect_left(held.records, end, key=_by_offset)
            del held.records[:deleted]
            held.start_offset = max(held.start_offset, end)
            return deleted

    def retain_since(self, topic: str, timestamp_ms: int) -> int:
        """Delete the records appended before `timestamp_ms`; returns how many there were."""
        with self._usable():
            deleted = 0
            for number, held in enumerate(self._partitions(topic)):
                kept = bisect_left(held.records, timestamp_ms, key=_by_append_time)
                end = held.records[kept].offset if kept < len(held.records) else held.next_offset
                deleted += self.retain(topic, number, from_offset=end)
            return deleted

    def owner(self, ledger: str, partition: int) -> Owner | None:  # noqa: ARG002 - the protocol's
        """Return None: within a process nobody needs to ask."""
        return None

    def disk_use(self) -> DiskUse | None:
        """Return None: nothing is on disk."""
        return None

    def close(self) -> None:
        """Refuse further use; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _publish(
        self,
        claim: MemoryClaim,
        outputs: Sequence[Output],
        commit: bytes,
        *,
        expected: int | None,
        next_offset: int,
    ) -> None:
        place = (claim.ledger, claim.partition)
        with self._usable():
            for topic in {output.topic for output in outputs}:
                self._partition(topic, claim.partition)
            standing = self._standings[place]
            require_current(
                *place,
                claimed=(claim.epoch, expected),
                standing=(standing.epoch, standing.next_offset),
            )
            for output in outputs:
                self._add(output.topic, claim.partition, output)
            standing.next_offset = next_offset
            self._ledger[(*place, "commit")] = commit

    def _append_owned(
        self,
        claim: MemoryValueClaim,
        topic: str,
        records: Sequence[NewRecord],
        value: bytes,
        expected: bytes | None,
    ) -> list[tuple[int, int]]:
        with self._usable():
            place = claim.place
            require_newest(place, claimed=claim.epoch, standing=self._value_epochs[place])
            require_value(
                place,
                expected=expected,
                standing=self.ledger_get(place.ledger, place.partition, place.key),
            )
            return self._append_and_set(topic, records, place, value)

    def _append_and_set(
        self, topic: str, records: Sequence[NewRecord], place: LedgerPlace, value: bytes
    ) -> list[tuple[int, int]]:
        places = self.append(topic, records) if records else []
        self._ledger[place.ledger, place.partition, place.key] = value
        return places

    def _usable(self) -> threading.Condition:
        if self._closed:
            raise UsageError("This log in memory is closed.", attempt="make a new one.")
        return self._changed

    def _partitions(self, topic: str) -> list[_Partition]:
        if topic not in self._topics:
            raise unknown_topic(self.url, topic, self._topics)
        return self._topics[topic]

    def _partition(self, topic: str, partition: int) -> _Partition:
        partitions = self._partitions(topic)
        require_partition(topic, partition, len(partitions))
        return partitions[partition]

    def _add(self, topic: str, partition: int, record: NewRecord | Output) -> int:
        held = self._topics[topic][partition]
        offset = held.next_offset
        held.append_ms = max(held.append_ms, self._clock_ms())
        held.records.append(
            Record(
                topic, partition, offset, held.append_ms, record.key, record.value, record.headers
            )
        )
        held.next_offset += 1
        self._changed.notify_all()
        return offset


class MemoryClaim:
    """The right to write one ledger's partition, until somebody else claims it."""

    def __init__(self, log: MemoryLog, ledger: str, partition: int, epoch: int) -> None:
        self.ledger = ledger
        self.partition = partition
        self._log = log
        self._epoch = epoch
        self._released = False

    @property
    def epoch(self) -> int:
        """A number that grows with every claim of this ledger and partition."""
        return self._epoch

    def committed(self) -> bytes | None:
        """Return the newest commit record's bytes, or None when nothing was ever committed."""
        return self._log.ledger_get(self.ledger, self.partition, "commit")

    def publish(
        self, outputs: Sequence[Output], commit: bytes, *, expected: int | None, next_offset: int
    ) -> None:
        """Append `outputs` and replace the commit record as one atomic step.

        Raises `Fenced` when the epoch or the position is no longer ours, and then wrote nothing.
        """
        if self._released:
            raise released(self.ledger, self.partition)
        self._log._publish(self, outputs, commit, expected=expected, next_offset=next_offset)

    def release(self) -> None:
        """Give the claim back."""
        self._released = True


class MemoryValueClaim:
    """The right to set one ledger value, until somebody else claims it."""

    def __init__(self, log: MemoryLog, place: LedgerPlace, epoch: int) -> None:
        self.place = place
        self.epoch = epoch
        self._log = log
        self._released = False

    def value(self) -> bytes | None:
        """Return the value."""
        return self._log.ledger_get(self.place.ledger, self.place.partition, self.place.key)

    def append(
        self, topic: str, records: Sequence[NewRecord], value: bytes, *, expected: bytes | None
    ) -> list[tuple[int, int]]:
        """Append and set the value as one step; raises `Fenced`, and then wrote nothing."""
        if self._released:
            raise value_released(self.place)
        return self._log._append_owned(self, topic, records, value, expected)

    def release(self) -> None:
        """Give the claim back."""
        self._released = True


def _within(records: list[Record], bytes_max: int) -> list[Record]:
    """Return the first records that fit into `bytes_max`, but at least one."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.value) + len(record.key or b"")
        size += sum(len(name) + len(value) for name, value in record.headers)
        if size > bytes_max and count:
            return records[:count]
    return records
