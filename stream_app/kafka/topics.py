"""A pipeline's topics as they have to be, made when an operator asks for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from stream_app.codec.limits import Limits
from stream_app.core.topics import Topics
from stream_app.core.upkeep import TopicFound, TopicSpec
from stream_app.errors import UsageError
from stream_app.kafka.admin import administer
from stream_app.kafka.client_errors import named
from stream_app.kafka.connection import Connection

# Our batches are up to 1,000,000 bytes with what is around them; this is Kafka's own default.
MESSAGE_BYTES = 1_048_588
# What a record takes beside its value: a key of the longest name, headers, and the batch's frame.
RECORD_OVERHEAD_BYTES = 16_384
REPLICATION_DEFAULT = 3

# The log's own time of append is part of what a fold reads. With the events' own times, records
# of years ago would vanish at the first retention check.
_STAMPED = {"message.timestamp.type": "LogAppendTime"}
_OUTPUT = {**_STAMPED, "cleanup.policy": "delete"}
# A retention by size would take the origin away as well.
KEPT = {**_OUTPUT, "retention.ms": "-1", "retention.bytes": "-1"}
COMPACTED = {**_STAMPED, "cleanup.policy": "compact"}
# Small segments, since only closed ones are compacted and a start reads what is left.
_TIDY = {"segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.1"}
# Whoever asks sooner is told that there is no such topic.
KNOWN_WITHIN_S = 10.0


def wanted_topics(
    pipeline: str,
    versions: Iterable[str],
    partitions: int,
    limits: Limits | None = None,
    *,
    intake: bool = False,
    backfills: Iterable[str] = (),
    imports: bool = False,
) -> list[TopicSpec]:
    """Return every topic of a pipeline: events, outputs, and the internal ones.

    With `intake` its positions have one too, compacted: a value that is set rarely would lie
    behind very many commits in the ledger. `backfills` have ledgers and checkpoints of their own;
    with `imports` there is a topic for the files that versions begin from, which is kept for ever.
    """
    topics = Topics(pipeline)
    first, *outputs = topics.all(versions)
    largest = (limits or Limits()).value_bytes_max + RECORD_OVERHEAD_BYTES
    events = {"max.message.bytes": max(MESSAGE_BYTES, largest)}
    internal = [*topics.internal, *([topics.intake] if intake else [])]
    for version in backfills:
        internal += [topics.ledger_of(version), topics.checkpoints_of(version)]
    others = {"max.message.bytes": MESSAGE_BYTES}
    return [
        TopicSpec(first, partitions, KEPT, events),
        *(TopicSpec(name, partitions, _OUTPUT, others) for name in outputs),
        *(TopicSpec(name, partitions, COMPACTED, others, _TIDY) for name in internal),
        *([TopicSpec(topics.blobs, 1, KEPT, others)] if imports else []),
    ]


def create_topics(
    connection: Connection, specs: Sequence[TopicSpec], replication: int | None
) -> list[str]:
    """Create what is missing, and change nothing that is there; returns the names made.

    Without a number every topic has three replicas, or as many as there are brokers. Of three,
    two must have a record before it is acknowledged.
    """
    return administer(
        connection,
        "creating topics",
        lambda admin: _create_all(admin, connection, specs, replication),
    )


async def _create_all(
    admin: AIOKafkaAdminClient,
    connection: Connection,
    specs: Sequence[TopicSpec],
    replication: int | None,
) -> list[str]:
    brokers = len((await admin.describe_cluster())["brokers"])
    copies = replication or min(REPLICATION_DEFAULT, brokers)
    if copies > brokers:
        raise UsageError(
            f"{copies} replicas need as many brokers, and {connection.url} has {brokers}.",
            attempt=f"--replication {brokers}",
        )
    safety = {"min.insync.replicas": "2"} if copies >= 3 else {}
    made = []
    for spec in specs:
        if await _create(admin, connection, spec, copies, safety):
            made.append(spec.name)
    await _wait_until_known(admin, [connection.prefix + name for name in made])
    return made


async def _wait_until_known(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until the broker tells of topics that it has just made, which takes it a moment."""
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while names and time.monotonic() < deadline:
        known = {row["topic"] for row in await admin.describe_topics() if row["partitions"]}
        names = [name for name in names if name not in known]
        if names:
            await asyncio.sleep(0.02)


async def _create(
    admin: AIOKafkaAdminClient,
    connection: Connection,
    spec: TopicSpec,
    copies: int,
    safety: Mapping[str, str],
) -> bool:
    name = connection.prefix + spec.name
    settings = {**spec.at_creation(), **safety}
    answer = await admin.create_topics(
        [NewTopic(name, spec.partitions, copies, topic_configs=settings)]
    )
    _, code, message = answer.topic_errors[0]
    error = for_code(code)
    if error is NoError:
        return True
    if error is TopicAlreadyExistsError:
        return False
    raise named(error(message), connection.url, f"creating topic {name}")


async def found_topics(
    admin: AIOKafkaAdminClient, connection: Connection, beginning: str
) -> dict[str, TopicFound]:
    """Return the topics below the prefix whose names begin so, with the settings in force."""
    prefix = connection.prefix
    rows = {
        row["topic"]: row["partitions"]
        for row in await admin.describe_topics()
        if row["topic"].startswith(prefix + beginning) and not row["error_code"]
    }
    settings = await describe(admin, sorted(rows))
    return {
        name.removeprefix(prefix): TopicFound(
            name=name.removeprefix(prefix),
            partitions=len(partitions),
            replication=_replicas(partitions),
            settings=settings.get(name, {}),
        )
        for name, partitions in sorted(rows.items())
    }


def _replicas(partitions: Sequence[Mapping[str, Any]]) -> int:
    return min(len(partition["replicas"]) for partition in partitions)


async def describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings in force of topics, by name; without those one may not see."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, _, _, name, entries in response.resources:
            if not code:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found
