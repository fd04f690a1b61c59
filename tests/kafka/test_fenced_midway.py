"""An owner that hears of its successor while it still hands records over."""

from __future__ import annotations

from contextlib import suppress

import pytest
from aiokafka.errors import IllegalOperation

from stream_app.core.upkeep import TopicSpec
from stream_app.errors import Fenced
from stream_app.kafka.batches import send_records, settled
from stream_app.kafka.claim import start_fencing, transactional_producer
from stream_app.kafka.client_errors import FENCED, named_errors
from stream_app.kafka.connection import Connection, connection
from stream_app.kafka.ending import ended_by
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.topics import create_topics
from stream_app.records import NewRecord
from tests.kafka.broker import Broker

TOPIC = "midway.out"
ROW = NewRecord(None, b"x")


async def send_when_fenced(to: Connection) -> BaseException:
    """Return what a publish raises then."""
    producer, successor = (transactional_producer(to, "midway") for _ in range(2))
    await start_fencing(to, producer, [])
    await start_fencing(to, successor, [])
    try:
        await producer.begin_transaction()
        first = await send_records(producer, TOPIC, 0, [ROW])
        with suppress(*FENCED):
            await settled(producer, first)
        with pytest.raises(IllegalOperation) as raised:
            await send_records(producer, TOPIC, 0, [ROW])
        return ended_by(producer, raised.value)
    finally:
        await producer.stop()
        await successor.stop()


def test_who_sends_after_the_fence_is_told_of_the_fence(broker: Broker) -> None:
    # The client says only that there is no transaction, which ended a whole worker as something
    # unexpected; a lane that is fenced ends alone.
    to, loop = connection(f"kafka://{broker.bootstrap}"), EventLoopThread("midway")
    create_topics(to, [TopicSpec(TOPIC, 1, {})], 1)
    with pytest.raises(Fenced), named_errors(to.url, "publishing"):
        raise loop.run(send_when_fenced(to))
    loop.close()
