"""Asks a broker what the present credentials may do, in versions that the client does not speak."""

from __future__ import annotations

from typing import Any, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

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
    answer = await admin._send_request(_AskTopics(topics))
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
        answer = await admin._send_request_to_node(node, _AskGroup(group))
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


class _TopicsAnswer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _TopicsQuestion(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsAnswer
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("make_topics", Boolean),
        ("tell_cluster_operations", Boolean),
        ("tell_topic_operations", Boolean),
    )


class _AskTopics(Request[_TopicsQuestion]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._topics, False, False, True)


class _GroupsAnswer(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String()),
                ("state", String()),
                ("protocol_type", String()),
                ("protocol", String()),
                (
                    "members",
                    Array(
                        ("member_id", String()),
                        ("client_id", String()),
                        ("client_host", String()),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
    )


class _GroupsQuestion(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupsAnswer
    SCHEMA = Schema(("groups", Array(String())), ("tell_operations", Boolean))


class _AskGroup(Request[_GroupsQuestion]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([self._group], True)
