"""Reads one partition from wherever it is asked, committed records only."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from stream_app.errors import LogUntrusted
from stream_app.kafka.committed import FETCH_TIMEOUT_S, FetchTimeout, reader
from stream_app.kafka.connection import Connection
from stream_app.records import Headers, Record

# A broker answers a connection's requests in turn: a reader that goes elsewhere waits for this.
_FETCH_WAIT_MS = 100
# Four times the client's own: a backfill's transactions are as large as what a fetch brings.
_FETCH_BYTES_MAX = 4 << 20


async def open_asker(connection: Connection) -> AIOKafkaConsumer:
    """Connect a client that fetches nothing, so that its questions are answered at once."""
    asker = reader(connection)
    await asker.start()
    return asker


async def open_cursor(
    connection: Connection, asker: AIOKafkaConsumer, topic: str, partition: int
) -> Cursor:
    """Connect a reader of one partition."""
    consumer = reader(
        connection, fetch_max_wait_ms=_FETCH_WAIT_MS, max_partition_fetch_bytes=_FETCH_BYTES_MAX
    )
    await consumer.start()
    place = TopicPartition(connection.prefix + topic, partition)
    consumer.assign([place])
    # Or its first question would wait 100 ms, until it has looked the topic up.
    await asker._client.add_topic(place.topic)
    return Cursor(consumer, asker, place)


class Cursor:
    """One partition's reader; whoever uses it holds its `turn`."""

    def __init__(
        self, consumer: AIOKafkaConsumer, asker: AIOKafkaConsumer, place: TopicPartition
    ) -> None:
        self._consumer = consumer
        self._asker = asker
        self._place = place
        self._fetched: deque[ConsumerRecord] = deque()
        self._next: int | None = None
        self.turn = asyncio.Lock()

    async def bounds(self) -> tuple[int, int]:
        """Return (first offset still kept, first offset that no reader may see yet)."""
        start, end = await asyncio.gather(
            self._asker.beginning_offsets([self._place]),
            self._asker.end_offsets([self._place]),
        )
        return start[self._place], max(start[self._place], end[self._place])

    async def read(self, offset: int, records_max: int, bytes_max: int) -> list[ConsumerRecord]:
        """Return records from `offset` on, at least one if there is one."""
        if not await self._seek(offset):
            return []
        if not self._fetched and not await self._fetch(records_max):
            return []
        return self._take(records_max, bytes_max)

    async def wait(self, offset: int, timeout_s: float) -> bool:
        """Wait until a record from `offset` on is there."""
        deadline = time.monotonic() + timeout_s
        while not await self._seek(offset):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(min(0.05, max(0.0, deadline - time.monotonic())))
        if not self._fetched:
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms > 0:
                await self._poll(1000, left_ms)
            else:
                # No time to wait is time enough to find what is there already.
                await self._fetch(1000)
        return bool(self._fetched)

    async def _seek(self, offset: int) -> bool:
        """Go to an offset; False when the log does not reach that far yet."""
        if offset == self._next:
            return True
        start, end = await self.bounds()
        if offset > end:
            return False
        self._fetched.clear()
        self._consumer.seek(self._place, max(offset, start))
        self._next = offset
        return True

    async def _fetch(self, records_max: int) -> bool:
        """Fetch until there are records, or until it is certain that there are none."""
        deadline = time.monotonic() + FETCH_TIMEOUT_S
        await self._poll(records_max, 0)
        if self._fetched:
            return True
        end = (await self._asker.end_offsets([self._place]))[self._place]
        while not self._fetched and await self._consumer.position(self._place) < end:
            if time.monotonic() >= deadline:
                raise FetchTimeout(f"{self._place.topic}/{self._place.partition} up to {end}")
            await self._poll(records_max, 100)
        return bool(self._fetched)

    async def _poll(self, records_max: int, timeout_ms: int) -> None:
        try:
            found = await self._consumer.getmany(
                self._place, timeout_ms=timeout_ms, max_records=records_max
            )
        except OffsetOutOfRangeError:
            await self._find_place_again()
            return
        self._fetched.extend(found.get(self._place, ()))

    async def _find_place_again(self) -> None:
        """Go to the log's start where retention was quicker; whoever reads compares with that."""
        start, end = await self.bounds()
        position = await self._consumer.position(self._place)
        if position > start:
            raise LogUntrusted(
                f"{self._place.topic}/{self._place.partition} ends at {end}, but was read up to "
                f"{position} before: it was deleted and made anew, or has lost records.",
                attempt="restore the topic from a backup, or give the pipeline a new name",
            )
        self._consumer.seek(self._place, start)

    def _take(self, records_max: int, bytes_max: int) -> list[ConsumerRecord]:
        taken: list[ConsumerRecord] = []
        size = 0
        while self._fetched and len(taken) < records_max:
            size += _bytes(self._fetched[0])
            if size > bytes_max and taken:
                break
            taken.append(self._fetched.popleft())
        if taken:
            self._next = taken[-1].offset + 1
        return taken

    async def close(self) -> None:
        """Disconnect."""
        await self._consumer.stop()


def _bytes(row: ConsumerRecord) -> int:
    size = len(row.key or b"") + len(row.value or b"")
    # Most events have none, and a sum over nothing costs as much as all the rest.
    return size + sum(len(value or b"") for _, value in row.headers) if row.headers else size


def to_record(row: Any, topic: str) -> Record:
    """Return a client's record as ours; without a value it has no bytes, which no event has.

    Others may write headers without a value, and in old formats records without a time.
    """
    headers: Headers = ()
    if row.headers:
        headers = tuple((name, b"" if value is None else value) for name, value in row.headers)
    timestamp_ms = -1 if row.timestamp is None else row.timestamp
    return Record(
        topic, row.partition, row.offset, timestamp_ms, row.key, row.value or b"", headers
    )
