"""The ledger: a compacted topic of small named values, read backwards from its end."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.kafka.committed import FetchTimeout, high_watermark, reading, rows_between
from stream_app.kafka.connection import Connection

COMMIT = b"commit"
NEXT_OFFSET = "next-offset"
# Longer than a dead owner's transaction stays open: its time-out, and a broker looks for those
# that ran out every 10 seconds.
OPEN_MAX_S = 45.0
_WINDOW = 32


async def newest(
    connection: Connection,
    ledger: str,
    partition: int,
    key: bytes,
    *,
    patience_s: float | None = None,
) -> ConsumerRecord | None:
    """Return the newest committed record of `key`, or None.

    A transaction that is open at the time, and has written `key`, is waited for and never
    overlooked; with `patience_s` for so long only. Reads the newest records first, more each time:
    the newest commit is among the very last.
    """
    place = TopicPartition(connection.prefix + ledger, partition)
    watermark = await high_watermark(connection, place)
    async with reading(connection, [place]) as consumer:
        start = (await consumer.beginning_offsets([place]))[place]
        stop = await _decided(connection, consumer, place, watermark, key, patience_s)
        top, window = stop, _WINDOW
        while stop > start:
            begin = max(start, top - window)
            found = await _last(consumer, place, begin, stop, key)
            if found is not None:
                return found
            window, stop = window * 8, begin
    return None


async def _decided(
    connection: Connection,
    consumer: AIOKafkaConsumer,
    place: TopicPartition,
    watermark: int,
    key: bytes,
    patience_s: float | None,
) -> int:
    """Return the offset below which the newest `key` is, waiting for transactions that matter.

    A dead owner's transaction stays open until the next owner or its time-out ends it. What it
    does not write it must not hide: a start reads the manifest before it owns anything.
    """
    deadline = time.monotonic() + (OPEN_MAX_S if patience_s is None else patience_s)
    looked = False
    while (stable := int((await consumer.end_offsets([place]))[place])) < watermark:
        if not looked and not await _is_written(connection, place, stable, watermark, key):
            return stable
        looked = True
        if time.monotonic() > deadline:
            if patience_s is not None:
                return stable
            raise FetchTimeout(f"{place.topic}/{place.partition} has an open transaction")
        await asyncio.sleep(0.02)
    return watermark


async def _is_written(
    connection: Connection, place: TopicPartition, begin: int, stop: int, key: bytes
) -> bool:
    """Tell whether anybody wrote `key` from `begin` on, committed or not."""
    async with reading(connection, [place], committed=False) as consumer:
        return await _last(consumer, place, begin, stop, key) is not None


async def _last(
    consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, stop: int, key: bytes
) -> ConsumerRecord | None:
    """Return the last record of `key` in [begin, stop)."""
    found = None
    async for row in rows_between(consumer, place, begin, stop):
        if row.key == key:
            found = row
    return found


def next_offset_of(record: ConsumerRecord) -> int:
    """Return the committed position that a commit's headers tell."""
    return int(dict(record.headers)[NEXT_OFFSET])
