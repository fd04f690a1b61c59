"""What an operator sees of a pipeline on a cluster: its topics, their settings, who may do what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.core.upkeep import Deviation, Finding, Subject, TopicFound, TopicSpec, deviations
from stream_app.errors import UsageError
from stream_app.kafka.acls import ROLES, acl_commands
from stream_app.kafka.admin import administer
from stream_app.kafka.clock import clock_findings
from stream_app.kafka.connection import Connection
from stream_app.kafka.durability import durability_findings
from stream_app.kafka.open_transactions import open_findings
from stream_app.kafka.permissions import lacking
from stream_app.kafka.topics import create_topics, found_topics, wanted_topics

_CHECKS = {
    "partitions": "partitions",
    "message.timestamp.type": "append-time",
    "cleanup.policy": "cleanup-policy",
    "retention.ms": "retention",
    "retention.bytes": "retention",
    "max.message.bytes": "message-size",
}
_WHY = {
    "partitions": "a pipeline has one number of partitions in all of its topics",
    "message.timestamp.type": "the time of append is part of what the fold reads",
    "retention.ms": "the log will lose its origin, and lost state could not be built again",
    "retention.bytes": "the log will lose its origin, and lost state could not be built again",
    "max.message.bytes": "larger batches are refused, and `run` or `produce` would stop",
}


class KafkaKeeper:
    """A `Keeper` of a Kafka cluster; every call may raise `LogUnavailable`."""

    makes_topics = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def url(self) -> str:
        """How a person names the cluster."""
        return self._connection.url

    def wanted(self, subject: Subject) -> list[TopicSpec]:
        """Return every topic that the pipeline needs, as it has to be."""
        return wanted_topics(
            subject.pipeline,
            subject.versions,
            subject.partitions,
            subject.limits,
            intake=bool(subject.sources),
            backfills=subject.backfills,
            imports=subject.imports,
        )

    def found(self, pipeline: str) -> dict[str, TopicFound]:
        """Return every topic whose name begins with the pipeline's."""
        return administer(
            self._connection,
            "looking at topics",
            lambda admin: found_topics(admin, self._connection, f"{pipeline}."),
        )

    def create(self, specs: Sequence[TopicSpec], replication: int | None) -> list[str]:
        """Make what is missing, leave alone what is there; returns the names made."""
        return create_topics(self._connection, specs, replication)

    def remedy(self, topic: str, deviation: Deviation) -> str:
        """Return what to type so that a deviation is gone."""
        tool = "--bootstrap-server " + self._connection.servers[0]
        name = self._connection.prefix + topic
        if deviation.name != "partitions":
            return (
                f"kafka-configs.sh {tool} --alter --entity-type topics --entity-name {name} "
                f"--add-config {deviation.name}={deviation.wanted}"
            )
        if int(deviation.wanted) > int(deviation.present or 0) and not topic.endswith(".events"):
            return f"kafka-topics.sh {tool} --alter --topic {name} --partitions {deviation.wanted}"
        return (
            "give the pipeline a new name and make its topics: partitions are never taken away, "
            "and with another number of them keys belong elsewhere"
        )

    def removal(self, topic: str) -> str:
        """Return what to type so that a topic that nobody needs is gone."""
        server, name = self._connection.servers[0], self._connection.prefix + topic
        return (
            "once nobody reads it: "
            f"kafka-topics.sh --bootstrap-server {server} --delete --topic {name}"
        )

    def findings(self, subject: Subject, role: str, clock_ms: Callable[[], int]) -> list[Finding]:
        """Return what is wrong with topics, credentials and clocks; changes nothing."""
        found = self.found(subject.pipeline)
        wanted = self.wanted(subject)
        rows = [row for spec in wanted for row in self._of_topic(spec, found.get(spec.name))]
        rows += durability_findings(found.values(), self.remedy)

        async def ask(admin: AIOKafkaAdminClient) -> list[Finding]:
            names = [spec.name for spec in wanted]
            refused = await lacking(admin, self._connection, subject, role, names)
            events = found.get(subject.topics.events)
            if events is None or refused or role == "producer":  # who may not read them
                return refused
            places = [
                TopicPartition(self._connection.prefix + topic.name, number)
                for topic in found.values()
                for number in range(topic.partitions)
            ]
            return [
                *await clock_findings(self._connection, events.name, events.partitions, clock_ms),
                *await open_findings(self._connection, places),
            ]

        return rows + administer(self._connection, "looking at the cluster", ask)

    def _of_topic(self, spec: TopicSpec, found: TopicFound | None) -> Iterator[Finding]:
        if found is None:
            return
        for row in deviations(spec, found):
            why = _WHY.get(row.name) or _cleanup(spec)
            least = "at least " if row.name in spec.minimums else ""
            what = f"{row.name} is {row.present}, and has to be {least}{row.wanted}: {why}"
            remedy = self.remedy(spec.name, row)
            yield Finding("problem", _CHECKS[row.name], spec.name, what, remedy)

    def acl_commands(
        self, pipeline: str, principals: Mapping[str, str], sources: Sequence[str] = ()
    ) -> list[str]:
        """Return the commands that allow each role's principal what it needs."""
        unknown = set(principals) - set(ROLES)
        if unknown:
            raise UsageError(f"roles {unknown}", attempt=f"some of {', '.join(ROLES)}")
        return acl_commands(self._connection, pipeline, principals, sources)


def _cleanup(spec: TopicSpec) -> str:
    if spec.settings["cleanup.policy"] == "compact":
        return "it holds the newest value of every key, and would lose it with its age"
    return "compaction keeps only the newest record of every key, and all of them count"
