"""One question or order to a cluster at a time, for plain code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient

from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.connection import Connection
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.probe import probe

T = TypeVar("T")


def administer(
    connection: Connection, doing: str, use: Callable[[AIOKafkaAdminClient], Awaitable[T]]
) -> T:
    """Return what `use` makes of a connected admin client; raises named errors."""

    async def connected() -> T:
        await probe(connection)
        admin = AIOKafkaAdminClient(**connection.client_options())
        try:
            await admin.start()
            return await use(admin)
        finally:
            await admin.close()

    loop = EventLoopThread("kafka-admin")
    try:
        with named_errors(connection.url, doing):
            return loop.run(connected())
    finally:
        loop.close()
