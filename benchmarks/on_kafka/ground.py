"""Topics of one measure's own, the events in them, and what came out."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing

import foundation
from aiokafka import TopicPartition
from peers.work import Example

from stream_app.codec.encode import encode_event
from stream_app.kafka.committed import high_watermark, reader, rows_between
from stream_app.kafka.connection import Connection, parse_servers
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics, wanted_topics

EVENTS = "bench.events"
PREDICTIONS = "bench.predictions"


def fresh(broker: str, partitions: int = 1) -> Connection:
    """Return a connection with topics of its own, as `stream-app topics` makes them."""
    connection = Connection(parse_servers(broker), prefix=f"bench-{time.time_ns()}.")
    declared = foundation.pipeline()
    create_topics(connection, wanted_topics(declared.name, declared.versions, partitions), 1)
    return connection


def fill(connection: Connection, rows: list[Example]) -> None:
    """Append all events, durably."""
    records = [encode_event(event) for event in foundation.inline(rows)]
    with closing(KafkaLog(connection)) as log:
        for start in range(0, len(records), 5000):
            log.append(EVENTS, records[start : start + 5000])


def committed_probabilities(connection: Connection) -> dict[str, list[float]]:
    """Return what a `read_committed` reader is told of every observation, in order."""
    return asyncio.run(_probabilities(connection))


async def _probabilities(connection: Connection) -> dict[str, list[float]]:
    place = TopicPartition(connection.prefix + PREDICTIONS, 0)
    end = await high_watermark(connection, place)
    found: dict[str, list[float]] = {}
    async with reader(connection) as consumer:
        consumer.assign([place])
        async for row in rows_between(consumer, place, 0, end):
            said = json.loads(row.value)
            found.setdefault(said["observation_id"], []).append(said["probability"])
    return found
