"""What a user may not see or join, said where the client would look on or try for ever."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.connection import Connection


async def require_visible(connection: Connection, names: Iterable[str]) -> None:
    """Raise the client's `TopicAuthorizationFailedError`, with their names, for hidden topics.

    A listing leaves them out; only who asks for them by name is told.
    """
    client = AIOKafkaClient(**connection.client_options())
    wanted = [connection.prefix + name for name in names]
    try:
        await client.bootstrap()
        asking = MetadataRequest(wanted, allow_auto_topic_creation=False)
        answer = await client.send(client.get_random_node(), asking)
    finally:
        await client.close()
    hidden = {row[1] for row in answer.topics if row[0] == TopicAuthorizationFailedError.errno}
    if hidden:
        raise TopicAuthorizationFailedError(hidden)


async def require_group(connection: Connection, group: str) -> None:
    """Raise `LogUnavailable` where this user may not join a group.

    Faust would ask again and again, and never come back from its start. A heartbeat of nobody
    wants the same right as joining, and changes nothing; every broker checks that first.
    """
    client = AIOKafkaClient(**connection.client_options())
    with named_errors(connection.url, f"joining the group {group}"):
        try:
            await client.bootstrap()
            nobody = HeartbeatRequest(group, -1, "")
            answer = await client.send(client.get_random_node(), nobody)
        finally:
            await client.close()
        if answer.error_code == GroupAuthorizationFailedError.errno:
            raise GroupAuthorizationFailedError(group)
