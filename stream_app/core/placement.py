"""Whether a record is where its key belongs: producers with another partitioner are noticed."""

from __future__ import annotations

from stream_app.codec.partitioning import partition_of
from stream_app.core.accepted import Counters
from stream_app.records import Record

REMEMBERED_MAX = 100_000


class Placement:
    """Counts records whose key or partition is not what Kafka's default partitioner makes of it."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition = partition
        self._partitions = partitions
        self._places: dict[str, int] = {}

    def check(self, key: str, record: Record, counters: Counters) -> None:
        """Count one record of an event with this key."""
        if record.key != key.encode():
            counters.keys_differ += 1
        if self._partitions > 1 and self._place(key) != self._partition:
            counters.misplaced += 1

    def is_here(self, key: str) -> bool:
        """Tell whether a key's events belong into this partition."""
        return self._partitions == 1 or self._place(key) == self._partition

    def _place(self, key: str) -> int:
        place = self._places.get(key)
        if place is None:
            if len(self._places) > REMEMBERED_MAX:
                self._places.clear()
            place = self._places[key] = partition_of(key.encode(), self._partitions)
        return place
