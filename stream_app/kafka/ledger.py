"""The ledger: a compacted topic of small named values, read backwards from its end."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.kafka.connection import Connection
from stream_app.kafka.cursor import FETCH_TIMEOUT_S, FetchTimeout

COMMIT = b"commit"
NEXT_OFFSET = "next-offset"
_WINDOW = 32


async def newest(
    connection: Connection, ledger: str, partition: int, key: bytes
) -> ConsumerRecord | None:
    """Return the newest committed record of `key`, or None.

    The high watermark is taken first and committed records are read until past it, so a
    transaction that is open at the time is waited for and never overlooked. Reads the newest
    records first, twice as many each time: the newest commit is among the very last.
    """
    place = TopicPartition(connection.prefix + ledger, partition)
    watermark = await high_watermark(connection, place)
    async with AIOKafkaConsumer(
        **connection.client_options(),
        isolation_level="read_committed",
        auto_offset_reset="none",
        enable_auto_commit=False,
        group_id=None,
    ) as consumer:
        consumer.assign([place])
        start = (await consumer.beginning_offsets([place]))[place]
        window, stop = _WINDOW, watermark
        while stop > start:
            begin = max(start, watermark - window)
            found = await _last(consumer, place, begin, stop, key)
            if found is not None:
                return found
            window, stop = window * 8, begin
    return None


async def high_watermark(connection: Connection, place: TopicPartition) -> int:
    """Return the first offset not yet given, committed or not."""
    async with AIOKafkaConsumer(
        **connection.client_options(), isolation_level="read_uncommitted", group_id=None
    ) as consumer:
        end: int = (await consumer.end_offsets([place]))[place]
        return end


async def _last(
    consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, stop: int, key: bytes
) -> ConsumerRecord | None:
    """Return the last record of `key` in [begin, stop)."""
    consumer.seek(place, begin)
    found = None
    idle_s = 0.0
    while await consumer.position(place) < stop:
        rows = (await consumer.getmany(place, timeout_ms=200)).get(place, ())
        idle_s = 0.0 if rows else idle_s + 0.2
        if idle_s > FETCH_TIMEOUT_S:
            raise FetchTimeout(f"{place.topic}/{place.partition} up to {stop}")
        for row in rows:
            if row.key == key and row.offset < stop:
                found = row
    return found


def next_offset_of(record: ConsumerRecord) -> int:
    """Return the committed position that a commit's headers tell."""
    return int(dict(record.headers)[NEXT_OFFSET])
