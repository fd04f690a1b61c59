"""A pipeline's consumer group, seen from outside: which member has which partition."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from stream_app.kafka.connection import Connection


def group_of(connection: Connection, pipeline: str) -> str:
    """Return the name of a pipeline's consumer group."""
    return f"{connection.prefix}{pipeline}.live"


def intake_group_of(connection: Connection, pipeline: str) -> str:
    """Return the name of the group that shares the sources of a pipeline's intake."""
    return f"{connection.prefix}{pipeline}.intake"


async def owners_of(connection: Connection, group: str, topic: str) -> dict[int, str]:
    """Return the name of the member that each partition of `topic` is assigned to."""
    admin = AIOKafkaAdminClient(**connection.client_options())
    try:
        await admin.start()
        [answer] = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    owners: dict[int, str] = {}
    members = [member for group_row in answer.groups for member in group_row[5]]
    for _, client_id, client_host, _, assignment, *_ in members:
        for name, partitions in _assigned(assignment):
            if name == topic:
                owners.update(dict.fromkeys(partitions, f"{client_id} ({client_host})"))
    return owners


def _assigned(assignment: bytes) -> list[tuple[str, list[int]]]:
    """Return the (topic, partitions) of a member; none while the group shares them anew."""
    if not assignment:
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [(topic, list(partitions)) for topic, partitions in decoded.assignment]
