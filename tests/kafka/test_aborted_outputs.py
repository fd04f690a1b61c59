"""An owner that was fenced in its very first transaction leaves an end behind, and no outputs."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from stream_app.errors import PositionMissing
from stream_app.hosts.embedded import open_hosts
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.kafka.claim import transactional_producer
from stream_app.kafka.connection import connection
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics, wanted_topics
from tests.kafka.broker import Broker
from tests.recovery.pipelines import small


async def transact(log: KafkaLog, topic: str, *, commit: bool) -> None:
    producer = transactional_producer(log.connection, "somebody")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"{}", partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()


def wait_for_end(log: KafkaLog, topic: str) -> None:
    """Wait for the marker that ends a transaction: it is written after the answer."""
    deadline = time.monotonic() + 20
    while log.bounds(topic, 0)[1] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_partition_whose_only_outputs_were_aborted_begins_at_its_origin(
    broker: Broker, tmp_path: Path
) -> None:
    # It was refused as one whose committed position is lost, and no restart could change that.
    pipeline, state, loop = small(), StateDirectory(tmp_path), EventLoopThread("somebody")
    to = connection(f"kafka://{broker.bootstrap}")
    create_topics(to, wanted_topics(pipeline.name, pipeline.versions, 1), 1)
    with closing(KafkaLog(to)) as log:
        manifest = register(log, pipeline, state.public_keys)
        loop.run(transact(log, "small.predictions", commit=False))
        wait_for_end(log, "small.predictions")
        [host] = open_hosts(log, pipeline, manifest, state, [0])
        assert host.next_offset == 0
        host.close()
        loop.run(transact(log, "small.predictions", commit=True))
        with pytest.raises(PositionMissing):
            open_hosts(log, pipeline, manifest, state, [0])
    loop.close()
