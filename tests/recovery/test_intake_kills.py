"""kill -9 of an intake worker at any moment: every source record is copied once, in its order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from stream_app.core.log import Log
from stream_app.core.upkeep import TopicSpec
from stream_app.hosts.log_url import open_broker
from stream_app.kafka.connection import connection
from stream_app.kafka.topics import COMPACTED, KEPT, create_topics
from stream_app.records import NewRecord, parse_position
from tests.kafka.broker import Broker
from tests.recovery.intake_child import PARTITIONS, SOURCE_PARTITIONS, copy_all, open_sources

ROOT = Path(__file__).parents[2]
BATCH = 5


def fill(log: Log, topic: str, records: int) -> None:
    """Append what others would; every seventh record is none that could be mapped."""
    for partition in range(SOURCE_PARTITIONS):
        values = [
            b'{"id": "%d", "k": "%d"}' % (n, n % 4) if n % 7 else b"?" for n in range(records)
        ]
        rows = [NewRecord(None, value, partition=partition) for value in values]
        log.sources().append(topic, rows)


def kill_once(url: str, topic: str, environment: Mapping[str, str], after_s: float) -> bool:
    """Start a worker and kill it a moment after it owns its sources; tells if it was too late."""
    command = [sys.executable, "-m", "tests.recovery.intake_child", url, topic, str(BATCH)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"owns\n"
            time.sleep(after_s)
        finally:
            process.kill()
        return process.stdout.readline() == b"done\n"


def require_every_record_once(log: Log, topic: str, records: int) -> None:
    """Compare the copies with the source: none lost, none twice, in order within a partition."""
    found: dict[int, list[int]] = {partition: [] for partition in range(SOURCE_PARTITIONS)}
    for partition in range(PARTITIONS):
        offset, last = 0, dict.fromkeys(found, -1)
        while rows := log.read("p.events", partition, offset, records_max=1000):
            for row in rows:
                place = dict(row.headers)["intake-source"].decode()
                name, source, at = parse_position(place)
                assert name == topic
                assert at > last[source], f"{place} comes after @{last[source]}"
                last[source] = at
                found[source].append(at)
            offset = rows[-1].offset + 1
    for source, offsets in found.items():
        assert sorted(offsets) == list(range(records)), f"partition {source}"


def storm(url: str, topic: str, kills: int, moment_s: float, **environment: str) -> int:
    """Kill so many workers, each within a moment; returns how many were still at it."""
    rng = random.Random(7)
    late = [kill_once(url, topic, environment, rng.uniform(0, moment_s)) for _ in range(kills)]
    return late.count(False)


def test_on_the_embedded_log_a_killed_intake_worker_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    url, records = f"sqlite:///{tmp_path}/log.db", 6000
    with closing(open_broker(url, create=True)) as log:
        log.create_topics({"others": SOURCE_PARTITIONS, "p.events": PARTITIONS})
        fill(log, "others", records)
        assert storm(url, "others", kills=20, moment_s=0.15) > 10
        hosts = open_sources(log, "others")
        assert any(host.position.next_offset > 0 for host in hosts)
        copy_all(hosts)
        require_every_record_once(log, "others", records)


def test_on_kafka_a_killed_intake_worker_loses_and_doubles_nothing(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, records = f"{uuid.uuid4().hex[:12]}.", 2000
    topic = f"others-{prefix}topic"
    url = f"kafka://{broker.bootstrap}"
    create_topics(connection(url), [TopicSpec(topic, SOURCE_PARTITIONS)], 1)
    monkeypatch.setenv("STREAM_APP_KAFKA_TOPIC_PREFIX", prefix)
    internal = [TopicSpec(name, PARTITIONS, COMPACTED) for name in ("p.ledger", "p.intake")]
    create_topics(connection(url), [TopicSpec("p.events", PARTITIONS, KEPT), *internal], 1)
    with closing(open_broker(url)) as log:
        fill(log, topic, records)
        assert storm(url, topic, kills=6, moment_s=0.4) > 3
        hosts = open_sources(log, topic)
        assert any(host.position.next_offset > 0 for host in hosts)
        copy_all(hosts)
        require_every_record_once(log, topic, records)
