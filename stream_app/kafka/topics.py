"""A pipeline's topics as they have to be, made when an operator asks for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from stream_app.core.topics import Topics
from stream_app.errors import StreamAppError
from stream_app.kafka.client_errors import named
from stream_app.kafka.connection import Connection
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.probe import probe

# The log's own time of append is part of what a fold reads. With the events' own times, records
# of years ago would vanish at the first retention check.
_STAMPED = {"message.timestamp.type": "LogAppendTime"}
_KEPT = {**_STAMPED, "cleanup.policy": "delete", "retention.ms": "-1"}
# Small segments, since only closed ones are compacted and a start reads what is left.
_COMPACTED = {
    **_STAMPED,
    "cleanup.policy": "compact",
    "segment.bytes": "16777216",
    "min.cleanable.dirty.ratio": "0.1",
}


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it has to be; `settings` are the ones that matter, all others are free."""

    name: str
    partitions: int
    settings: Mapping[str, str]


def wanted_topics(pipeline: str, versions: Iterable[str], partitions: int) -> list[TopicSpec]:
    """Return every topic of a pipeline: events, outputs, and the two internal ones."""
    topics = Topics(pipeline)
    first, *outputs = topics.all(versions)
    return [
        TopicSpec(first, partitions, _KEPT),
        *(TopicSpec(name, partitions, _STAMPED) for name in outputs),
        *(TopicSpec(name, partitions, _COMPACTED) for name in topics.internal),
    ]


def create_topics(
    connection: Connection, specs: Sequence[TopicSpec], replication: int
) -> list[str]:
    """Create what is missing, and change nothing that is there; returns the names made."""
    loop = EventLoopThread()
    try:
        return loop.run(_create(connection, specs, replication))
    finally:
        loop.close()


async def _create(
    connection: Connection, specs: Sequence[TopicSpec], replication: int
) -> list[str]:
    await probe(connection)
    admin = AIOKafkaAdminClient(**connection.client_options())
    made = []
    try:
        await admin.start()
        for spec in specs:
            name = connection.prefix + spec.name
            new = NewTopic(name, spec.partitions, replication, topic_configs=dict(spec.settings))
            answer = await admin.create_topics([new])
            _, code, message = answer.topic_errors[0]
            error = for_code(code)
            if error is TopicAlreadyExistsError:
                continue
            if code:
                raise _not_made(connection, name, error(message))
            made.append(spec.name)
    except (OSError, RuntimeError) as error:
        raise named(error, connection.url, "creating topics") from error
    finally:
        await admin.close()
    return made


def _not_made(connection: Connection, name: str, error: Exception) -> StreamAppError:
    return named(error, connection.url, f"creating topic {name}")


async def describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings in force of topics that exist, by name."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for _, _, _, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found
