"""Intake on a real Kafka: workers share sources that others wrote, under the names they gave."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from stream_app.codec.partitioning import partition_of
from stream_app.core.upkeep import TopicSpec
from stream_app.errors import UsageError
from stream_app.hosts.doctor import doctor
from stream_app.hosts.intake import IntakePlan, intake
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.source_copying import SourceProgress
from stream_app.hosts.source_status import source_statuses
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.topic_report import topics_made
from stream_app.kafka.acls import needed_acls
from stream_app.kafka.admin import administer
from stream_app.kafka.connection import Connection, connection
from stream_app.kafka.topics import create_topics
from tests.kafka.broker import Broker

DECLARATION = """
from river import linear_model

from stream_app import Binary, Intake, Pipeline, RecordPart, Version

pipeline = Pipeline(
    "shop",
    task=Binary(),
    features={{"price": float}},
    versions={{"v1": Version(linear_model.LogisticRegression())}},
    model_per="key",
    intake=[
        Intake("{topic}", kind="observation", id="id", key="shop", timestamp=RecordPart.APPEND_TIME)
    ],
)
"""
RECORDS, SOURCE_PARTITIONS, PARTITIONS = 90, 3, 2


class Shop:
    """A pipeline below a prefix of its own, and the topic of somebody else."""

    def __init__(self, broker: Broker, directory: Path, prefix: str) -> None:
        self.url = f"kafka://{broker.bootstrap}"
        self.topic = f"others-{prefix}orders"
        self.spec = str(directory / f"shop_{prefix[:-1]}.py")  # one module of a name in a process
        self.state = str(directory / "state")
        Path(self.spec).write_text(DECLARATION.format(topic=self.topic))
        topics_made(self.url, self.spec, load_pipeline(self.spec), partitions=PARTITIONS)

    def fill(self) -> None:
        """Append what others would: keys, a partitioner and headers of their own; no prefix."""
        others = Connection(connection(self.url).servers)
        create_topics(others, [TopicSpec(self.topic, SOURCE_PARTITIONS)], 1)

        async def send() -> None:
            async with AIOKafkaProducer(**others.client_options()) as producer:
                for n in range(RECORDS):
                    value = b'{"id": %d, "shop": "s%d", "price": 1.5}' % (n, n % 4)
                    await producer.send(
                        self.topic,
                        None if n % 10 == 9 else value,
                        key=b"theirs-%d" % n,
                        partition=n % SOURCE_PARTITIONS,
                        headers=[("nothing", None)],
                    )

        asyncio.run(send())

    def copy(self, workers: int) -> list[Any]:
        """Run intake to the sources' present end; returns what its workers said."""
        said: list[Any] = []
        plan = IntakePlan(self.spec, self.url, self.state, workers=workers, until_end=True)
        intake(plan, said.append, StopFlag())
        return said


@pytest.fixture
def shop(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    prefix = f"{uuid.uuid4().hex[:12]}."
    monkeypatch.setenv("STREAM_APP_KAFKA_TOPIC_PREFIX", prefix)
    return Shop(broker, tmp_path, prefix)


def test_workers_share_a_source_and_copy_each_record_once_to_where_its_event_belongs(
    shop: Shop,
) -> None:
    with pytest.raises(UsageError, match=rf"{shop.topic}, and .* has no such topic"):
        shop.copy(workers=1)
    missing = doctor(shop.url, shop.spec, load_pipeline(shop.spec)).findings
    assert [(f.level, f.where) for f in missing if f.check == "intake"] == [("problem", shop.topic)]
    shop.fill()
    said = shop.copy(workers=2)
    newest = {word.partition: word for word in said if isinstance(word, SourceProgress)}
    assert sorted(newest) == [f"{shop.topic}/{number}" for number in range(SOURCE_PARTITIONS)]
    with closing(open_broker(shop.url)) as log:
        # Not the newest words: a worker that is slow to begin may speak after who fenced it.
        copied = [row.copied for row in source_statuses(log, read_manifest(log, "shop"))]
        assert sum(copied) == RECORDS * 9 // 10
        rows = [
            row
            for partition in range(PARTITIONS)
            for row in log.read("shop.events", partition, 0, records_max=1000)
        ]
    sources = [dict(row.headers)["intake-source"].decode() for row in rows]
    assert len(set(sources)) == len(sources) == RECORDS
    for row in rows:
        if "intake-refused" not in dict(row.headers):
            assert row.key is not None
            assert row.key.startswith(b"s")
            assert partition_of(row.key, PARTITIONS) == row.partition
        assert abs(int(dict(row.headers)["intake-ts-ms"]) - time.time() * 1000) < 600_000


def test_a_position_has_a_topic_and_its_sources_rights_only_where_intake_is_declared() -> None:
    plain, copying = needed_acls("shop", "a."), needed_acls("shop", "a.", ["others"])
    [reading] = [acl for acl in copying if acl not in plain]
    assert (reading.role, reading.name, reading.prefixed) == ("worker", "others", False)
    assert reading.operations == ("Read", "Describe")


def test_a_running_intake_ends_when_the_topic_that_it_copies_into_was_made_anew(
    shop: Shop,
) -> None:
    """Nobody who appends is told, and the pipeline would never learn from what it copies on."""
    shop.fill()
    with ThreadPoolExecutor(1) as pool:
        changed = pool.submit(make_anew_once_copied, shop)
        # A process of its own, that a time-out ends.
        done = subprocess.run(
            [
                *(sys.executable, "-m", "stream_app", "intake", shop.spec),
                *("--broker", shop.url, "--state", shop.state),
            ],
            capture_output=True,
            text=True,
            timeout=90.0,  # it would go on for ever
            check=False,
        )
        changed.result()
    assert done.returncode in {5, 2}, done.stderr  # 2 if it looked while there was none
    assert "was deleted and made anew" in done.stderr or "no topic shop.events" in done.stderr


def make_anew_once_copied(shop: Shop) -> None:
    with closing(open_broker(shop.url)) as log:
        while not log.bounds("shop.events", 0)[1]:
            time.sleep(0.1)
        ours = connection(shop.url)
        name = f"{ours.prefix}shop.events"
        administer(ours, "testing", lambda admin: admin.delete_topics([name]))
        while "shop.events" in log.topics():
            time.sleep(0.05)
        create_topics(ours, [TopicSpec("shop.events", PARTITIONS)], 1)
