"""The ledger: a compacted topic of small named values, read backwards from its end."""

from __future__ import annotations

from aiokafka import ConsumerRecord, TopicPartition

from stream_app.kafka.committed import committed_reader, high_watermark, rows_between
from stream_app.kafka.connection import Connection

COMMIT = b"commit"
NEXT_OFFSET = "next-offset"
_WINDOW = 32


async def newest(
    connection: Connection, ledger: str, partition: int, key: bytes
) -> ConsumerRecord | None:
    """Return the newest committed record of `key`, or None.

    The high watermark is taken first and committed records are read until past it, so a
    transaction that is open at the time is waited for and never overlooked. Reads the newest
    records first, eight times as many each time: the newest commit is among the very last.
    """
    place = TopicPartition(connection.prefix + ledger, partition)
    watermark = await high_watermark(connection, place)
    async with committed_reader(connection) as consumer:
        consumer.assign([place])
        start = (await consumer.beginning_offsets([place]))[place]
        window, stop = _WINDOW, watermark
        while stop > start:
            begin = max(start, watermark - window)
            found = None
            async for row in rows_between(consumer, place, begin, stop):
                if row.key == key:
                    found = row
            if found is not None:
                return found
            window, stop = window * 8, begin
    return None


def next_offset_of(record: ConsumerRecord) -> int:
    """Return the committed position that a commit's headers tell."""
    return int(dict(record.headers)[NEXT_OFFSET])
