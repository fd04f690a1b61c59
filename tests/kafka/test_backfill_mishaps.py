"""A backfill on Kafka that is killed, loses its broker, its events, or meets new partitions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.hosts.embedded import open_hosts, run_hosts
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.replay import replay
from stream_app.hosts.replicated_store import open_replicated
from stream_app.hosts.state_directory import StateDirectory
from stream_app.kafka.admin import administer
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics, wanted_topics
from stream_app.records import NewRecord
from stream_app.storage.rocksdb_store import RocksdbStore
from tests.cli.terminal import Terminal, assert_error
from tests.kafka.broker import Broker
from tests.recovery.hill import TOPICS, Hill, events
from tests.recovery.test_backfill_mishaps import assert_left_out

ROOT = Path(__file__).parents[2]
MANY, FEW = 12_600, 3000


class KafkaHill(Hill):
    """A hill whose log stands below a prefix on a cluster."""

    def __init__(self, terminal: Terminal, directory: Path, connection: Connection) -> None:
        self.connection = connection
        super().__init__(
            terminal,
            directory,
            {
                "STREAM_APP_BROKER": connection.url,
                "STREAM_APP_KAFKA_TOPIC_PREFIX": connection.prefix,
                "PYTHONPATH": str(ROOT),
            },
        )

    def log(self) -> Log:
        return KafkaLog(self.connection)

    def begin(self, count: int, padded_by: int = 0) -> None:
        """Let live run v1 over so many events."""
        self.declare()
        pipeline = load_pipeline(f"{self.directory}/hill.py")
        topics = wanted_topics("hill", pipeline.versions, 1, backfills=["v3"])
        create_topics(self.connection, topics, 1)
        with closing(KafkaLog(self.connection)) as log:
            log.append(TOPICS.events, _rows(count, padded_by))
        self._run(pipeline, ["v1"])

    def _run(self, pipeline: Pipeline, versions: list[str]) -> None:
        """Run live to the end, as a worker does that needs no group to have its partition."""
        state = StateDirectory(self.directory / ".stream-app/state")
        with closing(KafkaLog(self.connection)) as log:
            manifest = register(log, pipeline, state.public_keys)
            store = partial(open_replicated, log, "hill", state.seal().key_id)
            [host] = open_hosts(
                log, pipeline, manifest, state, [0], versions=versions, open_store=store
            )
            with closing(host):
                end = log.bounds(TOPICS.events, 0)[1]
                run_hosts(log, pipeline, [host], stopped=lambda: False, until={0: end})

    def joins(self) -> None:
        self._run(load_pipeline(f"{self.directory}/hill.py"), ["v1", "v3"])
        assert "v3" in self.live().versions

    def agrees(self) -> None:
        pipeline = load_pipeline(f"{self.directory}/hill.py")
        with closing(KafkaLog(self.connection)) as log:
            assert replay(log, pipeline, read_manifest(log, "hill"), 0).difference is None

    def forget(self, before: int) -> None:
        """Delete the events below an offset, as retention does."""
        place = TopicPartition(self.connection.prefix + TOPICS.events, 0)

        async def use(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_records({place: RecordsToDelete(before)})

        administer(self.connection, "testing", use)

    def grow(self) -> None:
        """Give the topic of events another partition."""
        name = self.connection.prefix + TOPICS.events

        async def use(admin: AIOKafkaAdminClient) -> None:
            await admin.create_partitions({name: NewPartitions(2)})

        administer(self.connection, "testing", use)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with closing(Terminal(tmp_path_factory.mktemp("terminal"))) as opened:
        yield opened


@pytest.fixture
def hill(
    terminal: Terminal, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KafkaHill]:
    monkeypatch.delitem(sys.modules, "hill", raising=False)  # another test's, of another file
    with closing(KafkaHill(terminal, tmp_path, connection)) as made:
        yield made


def _rows(count: int, padded_by: int) -> list[NewRecord]:
    headers = (("padding", b"." * padded_by),)
    return [NewRecord(None, line.encode(), headers) for line in events(0, count).splitlines()]


def killed(hill: KafkaHill, step: str, nth: int) -> None:
    """Let a backfill in batches of 1,000 die when a step is reached."""
    [bootstrap] = hill.connection.servers
    words = [bootstrap, hill.connection.prefix, str(hill.directory), step, str(nth)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.kafka.backfill_child", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done


def said_once(hill: KafkaHill, count: int) -> None:
    """See that v3 has put out one prediction of each event, in order."""
    rows = [json.loads(value) for _, value, _ in hill.shadow()]
    offsets = [row["source"]["offset"] for row in rows if row["kind"] == "prediction"]
    assert offsets == list(range(count))


def test_a_backfill_that_is_killed_between_its_transaction_and_its_checkpoint_goes_on(
    hill: KafkaHill,
) -> None:
    hill.begin(FEW)
    killed(hill, "after publish", 2)
    assert hill.built_up_to() == 2000
    [saved] = hill.directory.glob(".stream-app/state/*/hill/backfill-v3/0")
    with closing(RocksdbStore.open(saved, read_only=True)) as store:
        assert store.saved_offset() == 1000
    hill.done("backfill hill.py v3")
    said_once(hill, FEW)
    hill.joins()
    hill.agrees()


def test_a_backfill_whose_broker_goes_away_and_comes_back_is_delayed(
    hill: KafkaHill, broker: Broker
) -> None:
    hill.begin(MANY)
    running = hill.paused()
    broker.kill()
    back = threading.Thread(target=broker.restart)
    hill.go()
    back.start()
    ended = hill.end(running)
    back.join()
    if ended.code:
        assert_error(ended, 4, hill.connection.url, "start again")
    hill.done("backfill hill.py v3")
    said_once(hill, MANY)
    hill.joins()
    hill.agrees()


def test_a_backfill_during_which_partitions_are_added_ends_well_and_the_next_one_is_refused(
    hill: KafkaHill,
) -> None:
    hill.begin(FEW)
    running = hill.paused(FEW // 2)
    hill.grow()
    hill.go()
    ended = hill.end(running)
    assert ended.code == 0, ended
    said_once(hill, FEW)
    for line in ("backfill hill.py v3", "run hill.py --until-end"):
        ended = hill.type(line)
        assert_error(ended, 5, "was given partitions: it has 2", "give the pipeline a new name")


def test_events_that_are_gone_before_a_backfill_has_learned_from_them_are_named(
    hill: KafkaHill,
) -> None:
    hill.begin(FEW)
    killed(hill, "after publish", 2)
    for kept_from in (2500, FEW):  # some of what it lacks, and nothing of it
        hill.forget(kept_from)
        refused = hill.type("backfill hill.py v3")
        gone = f"begins at offset {kept_from} now, but v3 is only built up to 2000"
        assert_error(refused, 5, gone, "stream-app run hill.py", "stream-app doctor hill.py")
        assert "backfill_started" not in refused.err
    assert hill.type("produce hill.py", events(FEW, FEW + 50)).code == 0
    # Its checkpoint, which a join would go on from, is older than its committed position.
    assert_left_out(hill.type("run hill.py --until-end"), "v3 is only built up to 1000")
    assert hill.live().next_offset == FEW + 50


def test_events_that_go_while_a_backfill_learns_are_named(hill: KafkaHill) -> None:
    hill.begin(FEW, padded_by=8000)  # or the client had fetched them all already
    running = hill.paused(FEW // 2)
    hill.forget(FEW)
    hill.go()
    ended = hill.end(running)
    stands = hill.built_up_to()
    assert FEW // 2 < stands < FEW
    gone = f"begins at offset {FEW} now, but v3 is only built up to {stands}"
    assert_error(ended, 5, gone, "stream-app run hill.py")
