"""Transactions of somebody else, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer

from stream_app.kafka.connection import Connection


def transaction(
    connection: Connection,
    rows: Sequence[tuple[str, bytes | None, bytes]],
    then: Callable[[AIOKafkaProducer], Awaitable[None]],
    name: str = "foreign",
) -> None:
    """Write rows into partition 0 in a foreign transaction, and do with it what `then` does."""

    async def write() -> None:
        producer = AIOKafkaProducer(
            **connection.client_options(),
            transactional_id=connection.prefix + name,
            retry_backoff_ms=5,
        )
        await producer.start()
        try:
            await producer.begin_transaction()
            for topic, key, value in rows:
                topic_name = connection.prefix + topic
                await producer.send_and_wait(topic_name, value, key=key, partition=0)
            await then(producer)
        finally:
            await producer.stop()

    asyncio.run(write())


async def commit(producer: AIOKafkaProducer) -> None:
    await producer.commit_transaction()


async def abort(producer: AIOKafkaProducer) -> None:
    await producer.abort_transaction()


async def leave_open(_: AIOKafkaProducer) -> None:
    """End as a process does that is killed."""
