"""Predictions are made again on Kafka too: from kept checkpoints, over holes, in any partition."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from stream_app.core.keeping import Keep
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.hosts.explaining import Explanation, explain
from stream_app.hosts.keeping_store import KeepingStore
from stream_app.hosts.kept_checkpoints import KeptCheckpoints
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.partition_host import Store
from stream_app.hosts.replicated_store import ReplicatedStore
from stream_app.kafka.connection import Connection
from stream_app.storage.kept_directory import KeptDirectory
from tests.kafka.machine import KafkaMachine, all_records
from tests.kafka.transactions import abort, commit, transaction
from tests.recovery.machine import EveryNth
from tests.recovery.pipelines import by_key
from tests.recovery.storms import records

CHUNK = 60
EVERY = 150


class Keeping(KafkaMachine, frozen=True):
    """Keeps checkpoints beside a state that goes to a topic as well."""

    def store(
        self, log: Log, pipeline: Pipeline, path: Path, reached: Callable[[str], None]
    ) -> Store:
        store = super().store(log, pipeline, path, reached)
        assert isinstance(store, ReplicatedStore)
        kept = KeptDirectory(path.with_name(f"{path.name}.kept"))
        return KeepingStore(store, kept, Keep(records=EVERY), 0)


def test_published_predictions_are_made_again_to_the_bit(
    connection: Connection, tmp_path: Path
) -> None:
    [bootstrap] = connection.servers
    machine = Keeping(tmp_path, bootstrap, connection.prefix)
    machine.make_topics(by_key)
    machine.begin(by_key, [])
    topics = Topics(by_key.name)
    rows = [(topics.events, row.key, row.value) for row in records(600, keyed=True)]
    for begin in range(0, len(rows), CHUNK):
        transaction(connection, rows[begin : begin + CHUNK], commit)
        transaction(connection, rows[begin : begin + 2], abort)
    with (
        closing(machine.log()) as log,
        closing(machine.open(log, by_key, pace=EveryNth(1))) as host,
    ):
        while host.step(50):
            pass
        host.finish()
    with closing(machine.log()) as log:
        manifest = read_manifest(log, by_key.name)
        checkpoints = 0
        for topic, version in ((topics.predictions, None), (topics.shadow("bayes"), "bayes")):
            published = [
                msgspec.json.decode(record.value)
                for record in all_records(log, topic)
                if b'"kind":"prediction"' in record.value
            ]
            for row in published[:: len(published) // 4]:
                which = f"0@{row['source']['offset']}"
                found = explain(log, by_key, manifest, machine.state, which, version=version)
                assert isinstance(found, Explanation)
                assert found.same == "equal"
                checkpoints += found.checkpoint is not None
        assert checkpoints >= 4
        by_id = explain(log, by_key, manifest, machine.state, published[-1]["observation_id"])
        assert isinstance(by_id, Explanation)
        assert by_id.recomputed.source.offset == published[-1]["source"]["offset"]
        with pytest.raises(UsageError, match="the end of a transaction takes an offset"):
            explain(log, by_key, manifest, machine.state, f"0@{CHUNK}")
        with pytest.raises(UsageError, match="would not be used"):
            KeptCheckpoints(log, manifest, machine.state).restore(str(EVERY))
