"""A pipeline of a test's own on a real cluster, and the powers of who operates that cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream_app.core.pipeline import Pipeline
from stream_app.kafka.admin import administer
from stream_app.kafka.connection import Connection
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.topics import describe

DECLARATION = """
from river import linear_model

from stream_app import Binary, Pipeline, Version
from stream_app.codec.limits import Limits

pipeline = Pipeline(
    {name!r},
    task=Binary(),
    features={{"price": float}},
    versions={{v: Version(linear_model.LogisticRegression()) for v in {versions!r}}},
    initial_champion="v1",
    model_per={model_per!r},
    evaluate_every={evaluate_every},
    limits=Limits(value_bytes_max={value_bytes_max}),
)
"""


class HasBootstrap(Protocol):
    """A broker that runs."""

    @property
    def bootstrap(self) -> str: ...


class Place:
    """A declaration in a directory, and its topics on a cluster, whose names nobody else has."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.url = f"kafka://{bootstrap}"
        self.connection = Connection((bootstrap,))
        self.name = f"t{uuid4().hex[:12]}"
        self.directory = directory
        self.declare()

    def declare(self, **changed: Any) -> None:
        """Write the declaration, with what is changed."""
        plain = {
            "versions": ("v1", "v2"),
            "model_per": "pipeline",
            "evaluate_every": 50,
            "value_bytes_max": 65536,
        }
        self._text = DECLARATION.format(name=self.name, **{**plain, **changed})
        self.file.write_text(self._text)

    def plan(self) -> Pipeline:
        """Return what is declared, as if its file was loaded by a new process each time."""
        names: dict[str, Any] = {}
        exec(self._text, names)
        pipeline: Pipeline = names["pipeline"]
        return pipeline

    @property
    def file(self) -> Path:
        """The declaration's file."""
        return self.directory / "shop.py"

    def topic(self, ending: str) -> str:
        """Return the name of one of its topics."""
        return f"{self.name}.{ending}"

    def settings(self, ending: str) -> dict[str, str]:
        """Return a topic's settings in force."""
        name = self.topic(ending)
        return administer(self.connection, "testing", lambda admin: describe(admin, [name]))[name]

    def partitions(self) -> dict[str, int]:
        """Return the number of partitions of every topic of the pipeline."""
        rows = administer(self.connection, "testing", lambda admin: admin.describe_topics())
        return {
            row["topic"]: len(row["partitions"])
            for row in rows
            if row["topic"].startswith(f"{self.name}.")
        }

    def set(self, ending: str, **changed: str) -> None:
        """Change settings of a topic, which keeps those that are its own already."""
        self._set(self.topic(ending), {name.replace("_", "."): v for name, v in changed.items()})

    def _set(self, name: str, changed: Mapping[str, str]) -> None:
        async def use(admin: AIOKafkaAdminClient) -> None:
            resource = ConfigResource(ConfigResourceType.TOPIC, name)
            [answer] = await admin.describe_configs([resource])
            own_source = 1
            own = {row[0]: row[1] for row in answer.resources[0][4] if row[3] == own_source}
            resource = ConfigResource(ConfigResourceType.TOPIC, name, {**own, **changed})
            [answer] = await admin.alter_configs([resource])
            assert answer.resources[0][0] == 0, answer

        administer(self.connection, "testing", use)

    def create(self, ending: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic as somebody else might."""
        name, own = self.topic(ending), {k.replace("_", "."): v for k, v in settings.items()}

        async def use(admin: AIOKafkaAdminClient) -> None:
            answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=own)])
            assert answer.topic_errors[0][1] == 0, answer

        administer(self.connection, "testing", use)

    def grow(self, ending: str, partitions: int) -> None:
        """Give a topic more partitions."""
        name = self.topic(ending)

        async def use(admin: AIOKafkaAdminClient) -> None:
            await admin.create_partitions({name: NewPartitions(partitions)})

        administer(self.connection, "testing", use)

    def delete(self, *endings: str) -> None:
        """Delete topics, by default all of the pipeline's."""
        names = [self.topic(ending) for ending in endings] or list(self.partitions())
        if names:
            administer(self.connection, "testing", lambda admin: admin.delete_topics(names))

    def forget(self, ending: str, before: int) -> None:
        """Delete the records of partition 0 below an offset, as retention does."""
        place = TopicPartition(self.topic(ending), 0)

        async def use(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_records({place: RecordsToDelete(before)})

        administer(self.connection, "testing", use)

    def send(self, ending: str, rows: Sequence[tuple[bytes | None, bytes, int]]) -> None:
        """Append (key, value, partition) as a producer of any make might."""

        async def use() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
                for key, value, partition in rows:
                    await producer.send(self.topic(ending), value, key=key, partition=partition)

        loop = EventLoopThread("test")
        try:
            loop.run(use())
        finally:
            loop.close()

    def carry_out(self, command: str) -> None:
        """Do what a printed command says, without Kafka's own tools."""
        words = shlex.split(command[command.index("kafka-") :])
        options = dict(pairwise(words[1:]))
        assert options["--bootstrap-server"] == self.bootstrap
        if words[0] == "kafka-configs.sh":
            assert options["--entity-type"] == "topics"
            name, value = options["--add-config"].split("=")
            self._set(options["--entity-name"], {name: value})
        elif "--delete" in words:
            self.delete(options["--topic"].removeprefix(f"{self.name}."))
        else:
            assert re.match(r"kafka-topics.sh .*--alter ", command), command
            ending = options["--topic"].removeprefix(f"{self.name}.")
            self.grow(ending, int(options["--partitions"]))
