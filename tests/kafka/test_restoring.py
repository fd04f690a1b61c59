"""A state that comes back from its topic while somebody else of the same machine wants it too."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from stream_app.core.position import POSITION
from stream_app.core.store import Image
from stream_app.core.upkeep import TopicSpec
from stream_app.errors import Fenced, LogBusy
from stream_app.hosts.replicated_store import ReplicatedStore
from stream_app.kafka.checkpoints import CheckpointTopic, Entries
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import COMPACTED, create_topics

TOPIC = "p.checkpoints"
IMAGE = Image(7, {"models": {b"k": b"v"}, POSITION: {b"position": b"here"}})


class Slow:
    """A checkpoint topic whose reader is held up until it may go on."""

    def __init__(self, topic: CheckpointTopic) -> None:
        self.reading, self.go_on = threading.Event(), threading.Event()
        self._topic = topic
        self.position = topic.position

    def entries(self) -> Entries:
        self.reading.set()
        assert self.go_on.wait(30.0)
        return self._topic.entries()

    def close(self) -> None:
        self._topic.close()


def test_a_restore_is_not_disturbed_by_the_next_owner_on_the_same_machine(
    connection: Connection, tmp_path: Path
) -> None:
    """A fenced owner may still be at it; both would write, and delete, the same files."""
    create_topics(connection, [TopicSpec(TOPIC, 1, COMPACTED)], replication=1)
    first, second = (tmp_path / name / "p" / "live" / "0" for name in ("first", "second"))
    with closing(KafkaLog(connection)) as log, ThreadPoolExecutor(1) as pool:

        def topic() -> CheckpointTopic:
            return log.checkpoints(TOPIC, 0, b"key")

        with closing(ReplicatedStore(first, topic)) as store:
            store.save(IMAGE)
        slow = Slow(topic())
        restoring = pool.submit(ReplicatedStore, second, lambda: slow)  # type: ignore[arg-type, return-value]
        assert slow.reading.wait(30.0)
        with pytest.raises(LogBusy, match="Partition 0 of p is owned by"):
            ReplicatedStore(second, topic)
        slow.go_on.set()
        with closing(restoring.result(30.0)) as store:
            assert store.get("models", b"k") == b"v"
        with closing(ReplicatedStore(second, topic)) as store:
            assert store.get("models", b"k") == b"v"


def test_a_writer_of_checkpoints_that_was_fenced_says_so_however_often_it_is_asked(
    connection: Connection,
) -> None:
    create_topics(connection, [TopicSpec(TOPIC, 1, COMPACTED)], replication=1)
    with closing(KafkaLog(connection)) as log:
        first = log.checkpoints(TOPIC, 0, b"key")
        first.write(IMAGE.writes, 7)
        log.checkpoints(TOPIC, 0, b"key")
        for _ in range(2):
            with pytest.raises(Fenced):
                first.write(IMAGE.writes, 8)
