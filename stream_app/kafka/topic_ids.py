"""Asks a broker for the identity of a topic (KIP-516)."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from stream_app.kafka.connection import Connection
from stream_app.kafka.patience import ask
from stream_app.kafka.wire import AskTopicId


async def topic_id(connection: Connection, name: str) -> str | None:
    """Return a topic's id; None when it is not there, empty from brokers before Kafka 3.1."""

    async def once(admin: AIOKafkaAdminClient) -> tuple[int, str]:
        answer = await admin._send_request(AskTopicId(name))
        [row] = answer.to_object()["topics"]
        return row["error_code"], str(row["topic_id"])

    found = await ask(connection, once)
    if found is None:
        return ""
    code, identity = found
    if code and for_code(code) is not UnknownTopicOrPartitionError:
        raise for_code(code)({name})
    return None if code else identity
