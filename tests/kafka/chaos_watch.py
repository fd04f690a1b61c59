"""Watches from outside how far the log reaches and how far each partition is committed."""

from __future__ import annotations

import asyncio
import threading
import time

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.core.topics import Topics
from stream_app.kafka.ledger import COMMIT, next_offset_of
from tests.kafka.chaos_pipeline import PARTITIONS, tempest

TOPICS = Topics(tempest.name)


class Watch(threading.Thread):
    """Reads what is committed of events and ledger, for as long as it is not stopped.

    A partition stops from the moment when it had something to do, or its last commit if that is
    later, until the next commit.
    """

    def __init__(self, bootstrap: str) -> None:
        super().__init__(name="watch", daemon=True)
        self._servers = bootstrap
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._end = [0] * PARTITIONS
        self._next = [0] * PARTITIONS
        self._since_s: list[float | None] = [None] * PARTITIONS
        self._longest_s = [0.0] * PARTITIONS
        self.events = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._watch())
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    async def _watch(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            group_id=None,
            fetch_max_wait_ms=20,
        )
        await consumer.start()
        try:
            consumer.assign(
                [
                    TopicPartition(topic, partition)
                    for topic in (TOPICS.events, TOPICS.ledger)
                    for partition in range(PARTITIONS)
                ]
            )
            while not self._stopping.is_set():
                found = await consumer.getmany(timeout_ms=100)
                with self._lock:
                    for place, rows in found.items():
                        self._take(place, rows)
        finally:
            await consumer.stop()

    def _take(self, place: TopicPartition, rows: list[ConsumerRecord]) -> None:
        now, partition = time.monotonic(), place.partition
        for row in rows:
            if place.topic == TOPICS.events:
                self._end[partition] = row.offset + 1
                self.events += 1
            elif row.key == COMMIT:
                self._next[partition] = next_offset_of(row)
                self._note_stop(partition, now)
                self._since_s[partition] = None
        if self._since_s[partition] is None and self._end[partition] > self._next[partition]:
            self._since_s[partition] = now

    def _note_stop(self, partition: int, now: float) -> None:
        since = self._since_s[partition]
        if since is not None:
            self._longest_s[partition] = max(self._longest_s[partition], now - since)

    def lag(self) -> int:
        """Return how many offsets are between what is in the log and what is committed."""
        with self._lock:
            return sum(max(0, end - at) for end, at in zip(self._end, self._next, strict=True))

    def committed(self) -> int:
        """Return the sum of all committed positions."""
        with self._lock:
            return sum(self._next)

    def stopped_s(self) -> tuple[int, float]:
        """Return the partition that stands still for longest just now, and how long."""
        with self._lock:
            now = time.monotonic()
            ages = [0.0 if since is None else now - since for since in self._since_s]
            return ages.index(max(ages)), max(ages)

    def longest_stop_s(self) -> float:
        """Return the longest stop of any partition, also one that lasts."""
        with self._lock:
            now = time.monotonic()
            for partition in range(PARTITIONS):
                self._note_stop(partition, now)
            return max(self._longest_s)

    def places(self) -> str:
        """Return where every partition is, for a failure's message."""
        with self._lock:
            pairs = zip(self._next, self._end, strict=True)
            return ", ".join(f"{p}: {at}/{end}" for p, (at, end) in enumerate(pairs))
