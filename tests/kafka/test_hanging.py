"""Transactions that a coordinator has ended, except on partitions that it has forgotten."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from aiokafka import TopicPartition

from stream_app.core.upkeep import TopicSpec
from stream_app.kafka import ending
from stream_app.kafka.batches import send_records, settled
from stream_app.kafka.claim import transactional_producer
from stream_app.kafka.connection import Connection
from stream_app.kafka.ending import Standing, standing, was_committed
from stream_app.kafka.ledger import COMMIT, NEXT_OFFSET
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import COMPACTED, KEPT, create_topics
from stream_app.records import NewRecord, Output
from tests.kafka.broker import Broker
from tests.kafka.transactions import leave_open, transaction

LEDGER, OUT, OTHER = "p.ledger", "p.predictions", "p.shadow.v2"
SPECS = [TopicSpec(LEDGER, 1, COMPACTED), TopicSpec(OUT, 1, KEPT), TopicSpec(OTHER, 1, KEPT)]
SHOWN_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def forgetful(kafka_is_here: None) -> Iterator[Broker]:
    """A broker that takes records of a transaction for a partition that is not in it."""
    with Broker({"transaction.partition.verification.enable": "false"}) as running:
        yield running


@pytest.fixture
def at(forgetful: Broker) -> Connection:
    connection = Connection((forgetful.bootstrap,), prefix=f"{uuid.uuid4().hex[:12]}.")
    create_topics(connection, SPECS, replication=1)
    return connection


def leave_hanging(connection: Connection, hanging: set[str], *, committed: bool) -> None:
    """End an owner's transaction on all but some partitions, as its coordinator may do."""

    async def write() -> None:
        producer = transactional_producer(connection, f"{LEDGER}-0")
        async with producer:
            await producer.begin_transaction()
            forgotten = {TopicPartition(connection.prefix + topic, 0) for topic in hanging}
            producer._txn_manager._txn_partitions |= forgotten
            for topic in (OUT, OTHER, LEDGER):
                is_ledger = topic == LEDGER
                row = NewRecord(COMMIT, b"c", ((NEXT_OFFSET, b"7"),) if is_ledger else ())
                name = connection.prefix + topic
                await settled(producer, await send_records(producer, name, 0, [row]))
            end = producer.commit_transaction if committed else producer.abort_transaction
            await end()

    asyncio.run(write())


def shown(log: KafkaLog, topic: str, count: int) -> list[bytes]:
    """Read until `count` records are there."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while len(rows := log.read(topic, 0, 0, records_max=100)) < count:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return [row.value for row in rows]


@pytest.mark.parametrize("hanging", [{LEDGER}, {OUT}, {LEDGER, OUT}], ids=["ledger", "out", "both"])
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "aborted"])
def test_the_next_owner_ends_what_hangs_as_the_rest_of_its_transaction_has_ended(
    at: Connection, hanging: set[str], committed: bool
) -> None:
    leave_hanging(at, hanging, committed=committed)
    with closing(KafkaLog(at)) as log:
        claim = log.claim(LEDGER, 0)
        assert claim.committed() == (b"c" if committed else None)
        standing = 7 if committed else None
        rows = [Output(topic, b"k", b"next") for topic in (OUT, OTHER)]
        claim.publish(rows, b"d", expected=standing, next_offset=8)
        before = [b"c"] * committed
        for topic in (OUT, OTHER):
            assert shown(log, topic, len(before) + 1) == [*before, b"next"]


@pytest.mark.parametrize(
    ("state", "raised", "committed"),
    [
        ("CompleteCommit", 1, True),
        ("PrepareCommit", 1, True),
        ("CompleteCommit", 2, None),  # it went on, and which of the two hangs cannot be told
        ("Ongoing", 2, False),
        ("Ongoing", 1, True),  # the previous owner has ended it meanwhile, and owners commit
        ("CompleteAbort", 1, False),
        ("PrepareEpochFence", 2, False),
        ("Empty", 1, None),
        ("Ongoing", 3, None),
    ],
)
def test_how_a_transaction_ended_is_told_by_what_the_start_after_it_did(
    state: str, raised: int, committed: bool | None
) -> None:
    assert was_committed(Standing(state, 7, 4), 7, 4 + raised) is committed
    assert was_committed(Standing(state, 7, 4), 8, 0) is None  # another producer's id


@pytest.mark.parametrize("rival_commits", [True, False])
def test_a_start_raises_the_epoch_by_one_or_by_two_if_it_has_to_abort(
    at: Connection, rival_commits: bool
) -> None:
    """Of a previous owner that goes on after it was asked about."""

    async def look() -> bool | None:
        name = f"{LEDGER}-0"
        first, second = (transactional_producer(at, name) for _ in range(2))
        async with first:
            await first.begin_transaction()
            row = NewRecord(COMMIT, b"c")
            await settled(first, await send_records(first, at.prefix + OUT, 0, [row]))
            before = await standing(at, at.prefix + name)
            assert before is not None
            assert before.state == "Ongoing"
            if rival_commits:
                await first.commit_transaction()
            async with second:
                manager = second._txn_manager
                return was_committed(before, manager.producer_id, manager.producer_epoch)

    assert asyncio.run(look()) is rival_commits


def test_an_id_that_was_never_started_has_nothing_to_end(at: Connection) -> None:
    assert asyncio.run(standing(at, "never")) is None


def test_a_transaction_of_another_id_is_left_alone_and_told(
    at: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    transaction(at, [(OUT, b"k", b"theirs")], leave_open)
    with closing(KafkaLog(at)) as log:
        log.claim(LEDGER, 0).release()
        log.claim(LEDGER, 0)
        assert "another producer" in caplog.text or "unknown outcome" in caplog.text
        assert log.read(OUT, 0, 0, records_max=10) == []


def test_an_owner_ends_what_its_own_slow_commit_left_hanging(
    at: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_SLOW_S", 0.0)
    with closing(KafkaLog(at)) as log:
        claim = log.claim(LEDGER, 0)
        forgotten = TopicPartition(at.prefix + OUT, 0)
        claim._producer._txn_manager._txn_partitions.add(forgotten)
        claim.publish([Output(OUT, b"k", b"a")], b"c", expected=None, next_offset=7)
        assert shown(log, OUT, 1) == [b"a"]


def test_an_owner_ends_what_hangs_of_the_transaction_before_a_slow_one(
    at: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit is answered before its partitions have heard of it; the next one is slow then."""
    with closing(KafkaLog(at)) as log:
        claim = log.claim(LEDGER, 0)
        claim._producer._txn_manager._txn_partitions.add(TopicPartition(at.prefix + OUT, 0))
        claim.publish([Output(OUT, b"k", b"a")], b"c", expected=None, next_offset=7)
        monkeypatch.setattr(ending, "_SLOW_S", 0.0)
        claim.publish([Output(OTHER, b"k", b"b")], b"d", expected=7, next_offset=8)
        assert shown(log, OUT, 1) == [b"a"]


def test_a_checkpoint_that_hangs_is_ended_by_the_partitions_next_owner(at: Connection) -> None:
    topic = "p.checkpoints"
    create_topics(at, [TopicSpec(topic, 1, COMPACTED)], replication=1)
    with closing(KafkaLog(at)) as log:
        first = log.checkpoints(topic, 0, b"key")
        first.write({"position": {b"position": b"x"}}, 5)
        while log.bounds(topic, 0) != (0, 2):  # its end is there, and will not end what follows
            time.sleep(0.01)

        async def forgotten() -> None:
            producer = first._producer
            await producer.begin_transaction()
            manager = producer._txn_manager
            manager._txn_partitions.add(TopicPartition(at.prefix + topic, 0))
            row = NewRecord(b"other\0k\0\0\0\0\0", b"never committed")
            await settled(producer, await send_records(producer, at.prefix + topic, 0, [row]))
            # Another partition is all that the coordinator hears of.
            manager._txn_partitions.clear()
            manager.maybe_add_partition_to_txn(TopicPartition(at.prefix + OUT, 0))
            await producer.abort_transaction()

        first._run(forgotten())
        second = log.checkpoints(topic, 0, b"key")
        assert second.position == 5
        assert set(second.entries()) == {"position"}
