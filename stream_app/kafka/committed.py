"""Reads what is committed, and only that: the one way in which records are fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.kafka.connection import Connection

# How long a read waits for records that the broker says are there.
FETCH_TIMEOUT_S = 30.0
_POLL_MS = 200


class FetchTimeout(TimeoutError):
    """Records that must be there did not come: an open transaction, or a broker in trouble."""


def committed_reader(connection: Connection, **options: Any) -> AIOKafkaConsumer:
    """Return a reader of committed records that is in no group and not started yet.

    Sought below the log's start it raises: "earliest" would silently begin later.
    """
    return AIOKafkaConsumer(
        **connection.client_options(),
        isolation_level="read_committed",
        auto_offset_reset="none",
        enable_auto_commit=False,
        group_id=None,
        **options,
    )


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


async def high_watermark(connection: Connection, place: TopicPartition) -> int:
    """Return the first offset not yet given, committed or not."""
    async with AIOKafkaConsumer(
        **connection.client_options(), isolation_level="read_uncommitted", group_id=None
    ) as consumer:
        end: int = (await consumer.end_offsets([place]))[place]
        return end
