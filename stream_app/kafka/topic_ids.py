"""Asks a broker for the identity of a topic (KIP-516)."""

from __future__ import annotations

from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from stream_app.kafka.connection import Connection
from stream_app.kafka.patience import ask
from stream_app.kafka.wire import AskTopicId


class TopicSeen(NamedTuple):
    """A topic's id, empty where the cluster gives none, and how many partitions it has."""

    identity: str
    partitions: int


async def topic_seen(connection: Connection, name: str) -> TopicSeen | None:
    """Return a topic as it is now; None when it is not there.

    Brokers before Kafka 3.1 are not asked: the id is empty then, and the partitions are 0.
    """

    async def once(admin: AIOKafkaAdminClient) -> tuple[int, TopicSeen]:
        answer = await admin._send_request(AskTopicId(name))
        [row] = answer.to_object()["topics"]
        return row["error_code"], TopicSeen(str(row["topic_id"]), len(row["partitions"]))

    found = await ask(connection, once)
    if found is None:
        return TopicSeen("", 0)
    code, seen = found
    if code and for_code(code) is not UnknownTopicOrPartitionError:
        raise for_code(code)({name})
    return None if code else seen
