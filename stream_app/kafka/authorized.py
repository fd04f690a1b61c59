"""Asks a broker what the present credentials may do."""

from __future__ import annotations

from typing import TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest

from stream_app.kafka.wire import AskGroup, AskTopics

Operations: TypeAlias = frozenset[str] | None
"""Names of what is allowed; None where a broker does not tell."""

# The protocol's numbers of operations, bits of what it answers.
_BITS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}
_NOT_TOLD = -(1 << 31)
_TRANSACTION = 1


def _operations(bits: int) -> Operations:
    if bits == _NOT_TOLD:
        return None
    return frozenset(name for name, bit in _BITS.items() if bits >> bit & 1)


async def on_topics(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, Operations]:
    """Return what is allowed on topics that are there, or that may not even be seen."""
    answer = await admin._send_request(AskTopics(topics))
    allowed: dict[str, Operations] = {}
    for row in answer.to_object()["topics"]:
        if for_code(row["error_code"]) is TopicAuthorizationFailedError:
            allowed[row["topic"]] = frozenset()
        elif not row["error_code"]:
            allowed[row["topic"]] = _operations(row["operations"])
    return allowed


async def on_group(admin: AIOKafkaAdminClient, group: str) -> Operations:
    """Return what is allowed on a group, which need not exist."""
    try:
        node = await admin.find_coordinator(group)
        answer = await admin._send_request_to_node(node, AskGroup(group))
    except GroupAuthorizationFailedError:
        return frozenset()
    except GroupCoordinatorNotAvailableError:
        return None  # the cluster has had no group yet
    [row] = answer.to_object()["groups"]
    if for_code(row["error_code"]) is GroupAuthorizationFailedError:
        return frozenset()
    return None if row["error_code"] else _operations(row["operations"])


async def on_transactions(admin: AIOKafkaAdminClient, transactional_id: str) -> Operations:
    """Return whether a transactional id may be seen: asking for more would fence its owner."""
    answer = await admin._send_request(FindCoordinatorRequest(transactional_id, _TRANSACTION))
    denied = for_code(answer.error_code) is TransactionalIdAuthorizationFailed
    return frozenset() if denied else None
