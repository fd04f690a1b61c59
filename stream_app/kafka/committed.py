"""The one way in which partitions are read: from a named offset, committed records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.kafka.connection import Connection

# How long a read waits for records that the broker says are there.
FETCH_TIMEOUT_S = 30.0
_POLL_MS = 200


class FetchTimeout(TimeoutError):
    """Records that must be there did not come: an open transaction, or a broker in trouble."""


def reader(connection: Connection, *, committed: bool = True, **options: Any) -> AIOKafkaConsumer:
    """Return a reader of committed records that is in no group and not started yet.

    With `committed` False it also reads what may never be committed. Sought below the log's start
    it raises: "earliest" would silently begin later.
    """
    return AIOKafkaConsumer(
        **connection.client_options(),
        isolation_level="read_committed" if committed else "read_uncommitted",
        auto_offset_reset="none",
        enable_auto_commit=False,
        group_id=None,
        **options,
    )


@asynccontextmanager
async def reading(
    connection: Connection, places: Collection[TopicPartition], *, committed: bool = True
) -> AsyncIterator[AIOKafkaConsumer]:
    """Lend a `reader` that these partitions are assigned to.

    One that is assigned nothing would look each topic up by and by, 100 ms each time.
    """
    consumer = reader(connection, committed=committed)
    try:
        await consumer.start()
        consumer.assign(list(places))
        yield consumer
    finally:
        # The client stops a task of its own, and is cancelled by it if that never had a turn.
        await asyncio.sleep(0)
        await consumer.stop()


async def rows_between(
    consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, stop: int
) -> AsyncIterator[ConsumerRecord]:
    """Yield the committed records in [begin, stop).

    Waits for a transaction that is open there, so none is overlooked; raises `FetchTimeout` when
    that takes too long.
    """
    consumer.seek(place, begin)
    idle_s = 0.0
    while await consumer.position(place) < stop:
        rows = (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, ())
        idle_s = 0.0 if rows else idle_s + _POLL_MS / 1000
        if idle_s > FETCH_TIMEOUT_S:
            raise FetchTimeout(f"{place.topic}/{place.partition} up to {stop}")
        for row in rows:
            if row.offset < stop:
                yield row


async def ends(
    connection: Connection, places: Collection[TopicPartition], *, committed: bool
) -> dict[TopicPartition, int]:
    """Return the first offset that readers may not see yet, or (not `committed`) not yet given."""
    async with reading(connection, places, committed=committed) as consumer:
        return dict(await consumer.end_offsets(list(places)))


async def high_watermark(connection: Connection, place: TopicPartition) -> int:
    """Return the first offset not yet given, committed or not."""
    return (await ends(connection, [place], committed=False))[place]
