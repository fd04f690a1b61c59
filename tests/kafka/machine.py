"""A machine whose log is on Kafka, and the same fold in memory to compare it with."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.partition_host import PartitionHost, Store
from stream_app.hosts.replicated_store import ReplicatedStore
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics, wanted_topics
from stream_app.records import Record
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from tests.recovery.machine import Machine, Outcome, Published, first_difference

# A broker shows the end of a transaction a moment after it has acknowledged it.
SHOWN_WITHIN_S = 20.0


class Standing(msgspec.Struct, frozen=True):
    """Where a fold stands: what no output tells."""

    next_offset: int
    chain: bytes
    acceptance: bytes
    versions: dict[str, bytes]


class KafkaMachine(Machine, frozen=True):
    """`root` holds `state/`; the log is what stands below `prefix` on a cluster."""

    bootstrap: str
    prefix: str

    @property
    def connection(self) -> Connection:
        return Connection((self.bootstrap,), prefix=self.prefix)

    def log(self, *, create: bool = False) -> KafkaLog:
        return KafkaLog(self.connection)

    def make_topics(self, pipeline: Pipeline) -> None:
        create_topics(self.connection, wanted_topics(pipeline.name, pipeline.versions, 1), 1)

    def store(
        self, log: Log, pipeline: Pipeline, path: Path, reached: Callable[[str], None]
    ) -> Store:
        """Open partition 0's state as a member does: what is saved goes to a topic too."""
        assert isinstance(log, KafkaLog)
        topic, key_id = Topics(pipeline.name).checkpoints, self.state.seal().key_id
        store = ReplicatedStore(path, lambda: log.checkpoints(topic, 0, key_id))
        store._store.reached = reached
        return store

    def outcome(self, pipeline: Pipeline) -> Outcome:
        """Read everything that committed readers see."""
        topics = Topics(pipeline.name)
        with closing(self.log()) as log:
            return Outcome(
                _published(log, pipeline),
                log.ledger_get(topics.ledger, 0, "commit"),
            )

    def standing(self, pipeline: Pipeline) -> Standing:
        """Open the state, learn again what is missing, and tell where it stands."""
        with closing(self.log()) as log, closing(self.open(log, pipeline)) as host:
            while host.relearning:
                host.step()
            return _standing(host)

    def difference(self, pipeline: Pipeline) -> str | None:
        """Compare with an undisturbed fold of the same records; None where nothing differs."""
        expected, standing = self.folded_in_memory(pipeline)
        deadline = time.monotonic() + SHOWN_WITHIN_S
        while (found := first_difference(expected, self.outcome(pipeline))) is not None:
            if time.monotonic() > deadline:
                return found
            time.sleep(0.1)
        ours = self.standing(pipeline)
        return None if ours == standing else f"{standing} is {ours}"

    def folded_in_memory(self, pipeline: Pipeline) -> tuple[Outcome, Standing]:
        """Fold the records of the cluster, with their offsets and append times, in memory."""
        topics = Topics(pipeline.name)
        with closing(self.log()) as log:
            manifest = read_manifest(log, pipeline.name)
            records = all_records(log, topics.events)
            memory = MemoryLog(log_id=log.log_id)
        memory.create_topics(dict.fromkeys(topics.all(pipeline.versions), 1))
        for record in records:
            memory.append_at(
                topics.events,
                0,
                record.offset,
                record.timestamp_ms,
                record.key,
                record.value,
                record.headers,
            )
        with closing(
            PartitionHost(
                memory, pipeline, manifest, 0, open_store=MemoryStore, seal=self.state.seal()
            )
        ) as host:
            while host.step():
                pass
            outcome = Outcome(
                _published(memory, pipeline), memory.ledger_get(topics.ledger, 0, "commit")
            )
            return outcome, _standing(host)


def all_records(log: Log, topic: str) -> list[Record]:
    """Read a topic's partition 0 to its end, as often as that takes."""
    found: list[Record] = []
    offset = 0
    while rows := log.read(topic, 0, offset, records_max=5000):
        found += rows
        offset = rows[-1].offset + 1
    return found


def _published(log: Log, pipeline: Pipeline) -> Published:
    topics = Topics(pipeline.name)
    return {
        topic: [(row.key, row.value, row.headers) for row in all_records(log, topic)]
        for topic in topics.all(pipeline.versions)
        if topic != topics.events
    }


def _standing(host: PartitionHost) -> Standing:
    processor = host.processor
    return Standing(
        processor.next_offset,
        processor.chain,
        processor.acceptance.digest(),
        {version.name: version.digest() for version in processor.versions},
    )
