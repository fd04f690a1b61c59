"""What only a log on real brokers meets: markers, open and aborted transactions, other owners."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from stream_app.core.upkeep import TopicSpec
from stream_app.errors import Fenced, LogUnavailable, LogUntrusted
from stream_app.kafka import ledger as ledger_module
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import COMPACTED, KEPT, create_topics
from stream_app.records import NewRecord, Output
from tests.kafka.broker import Broker
from tests.kafka.transactions import abort, commit, leave_open, transaction

SHOWN_WITHIN_S = 20.0
SPECS = [
    TopicSpec("t", 1, KEPT),
    TopicSpec("out", 2, KEPT),
    TopicSpec("l", 2, COMPACTED),
]


@pytest.fixture
def log(connection: Connection) -> Iterator[KafkaLog]:
    create_topics(connection, SPECS, replication=1)
    with closing(KafkaLog(connection)) as opened:
        yield opened


def values(log: KafkaLog, topic: str, partition: int = 0, offset: int = 0) -> list[bytes]:
    """Read to the end, as often as that takes."""
    found: list[bytes] = []
    while rows := log.read(topic, partition, offset, records_max=100_000):
        found += [row.value for row in rows]
        offset = rows[-1].offset + 1
    return found


def shown(log: KafkaLog, topic: str, partition: int, count: int) -> list[bytes]:
    """Read until `count` records are there: the end of a transaction shows a moment later."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while len(found := values(log, topic, partition)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


async def with_admin(connection: Connection, call: Callable[[Any], Awaitable[Any]]) -> None:
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        await call(admin)
    finally:
        await admin.close()


def test_a_reader_that_stands_at_a_trailing_marker_is_caught_up_and_waits(log: KafkaLog) -> None:
    transaction(log.connection, [("t", b"k", b"a"), ("t", b"k", b"b")], commit)
    assert shown(log, "t", 0, 2) == [b"a", b"b"]
    assert log.bounds("t", 0) == (0, 3)
    # Twice: the second read knows its place already.
    assert log.read("t", 0, 2, records_max=9) == []
    assert log.read("t", 0, 2, records_max=9) == []
    before = time.monotonic()
    assert not log.wait("t", 0, 2, timeout_s=0.3)
    assert time.monotonic() - before >= 0.3
    [(_, offset)] = log.append("t", [NewRecord(b"k", b"c")])
    assert offset == 3
    assert log.wait("t", 0, 2, timeout_s=10)
    assert [(r.offset, r.value) for r in log.read("t", 0, 2, records_max=9)] == [(3, b"c")]


def test_holes_that_markers_leave_are_read_over_from_any_offset(log: KafkaLog) -> None:
    for text in (b"a", b"b", b"c"):
        transaction(log.connection, [("t", b"k", text)], commit)
    assert shown(log, "t", 0, 3) == [b"a", b"b", b"c"]
    assert [[r.offset for r in log.read("t", 0, at, records_max=9)] for at in range(6)] == [
        [0, 2, 4],
        [2, 4],
        [2, 4],
        [4],
        [4],
        [],
    ]
    assert [r.offset for r in log.read("t", 0, 1, records_max=1)] == [2]


def test_what_was_aborted_is_never_seen_and_nobody_waits_for_it(log: KafkaLog) -> None:
    transaction(log.connection, [("t", b"k", b"no")] * 3, abort)
    assert log.read("t", 0, 0, records_max=9) == []
    assert not log.wait("t", 0, 0, timeout_s=0.2)
    log.append("t", [NewRecord(b"k", b"yes")])
    assert log.wait("t", 0, 0, timeout_s=10)
    assert [(r.offset, r.value) for r in log.read("t", 0, 0, records_max=9)] == [(4, b"yes")]


def test_an_open_transaction_hides_what_comes_after_it_until_it_ends(log: KafkaLog) -> None:
    transaction(log.connection, [("t", b"k", b"open")], leave_open)
    log.append("t", [NewRecord(b"k", b"after")])
    assert log.bounds("t", 0) == (0, 0)
    assert log.read("t", 0, 0, records_max=9) == []
    assert not log.wait("t", 0, 0, timeout_s=0.2)
    # The next one of its id ends it.
    transaction(log.connection, [("t", b"k", b"next")], commit)
    assert shown(log, "t", 0, 2) == [b"after", b"next"]


def test_records_that_were_deleted_are_skipped_and_the_bounds_tell(log: KafkaLog) -> None:
    log.append("t", [NewRecord(b"k", b"%d" % number) for number in range(10)])
    assert [r.offset for r in log.read("t", 0, 0, records_max=2)] == [0, 1]
    place = TopicPartition(log.connection.prefix + "t", 0)
    delete = {place: RecordsToDelete(before_offset=6)}
    asyncio.run(with_admin(log.connection, lambda admin: admin.delete_records(delete)))
    assert log.bounds("t", 0) == (6, 10)
    # A reader that was there before, and one that comes from elsewhere.
    assert [r.offset for r in log.read("t", 0, 8, records_max=9)] == [8, 9]
    assert [r.offset for r in log.read("t", 0, 0, records_max=9)] == [6, 7, 8, 9]
    with closing(KafkaLog(log.connection)) as other:
        assert [r.offset for r in other.read("t", 0, 3, records_max=1)] == [6]


def test_a_reader_whose_records_are_deleted_before_its_next_fetch_goes_on_at_the_start(
    log: KafkaLog,
) -> None:
    transaction(log.connection, [("t", b"k", b"a")], commit)
    assert shown(log, "t", 0, 1) == [b"a"]
    assert log.read("t", 0, 1, records_max=9) == []
    with closing(KafkaLog(log.connection)) as other:
        other.append("t", [NewRecord(b"k", b"%d" % number) for number in range(10)])
    place = TopicPartition(log.connection.prefix + "t", 0)
    delete = {place: RecordsToDelete(before_offset=8)}
    asyncio.run(with_admin(log.connection, lambda admin: admin.delete_records(delete)))
    offsets = [record.offset for record in log.read("t", 0, 1, records_max=99)]
    # Either it had fetched them before they went, or it begins where the log does: no third.
    assert offsets in ([8, 9, 10, 11], [*range(2, 12)])


def test_an_offset_beyond_the_end_has_nothing_until_the_log_reaches_it(log: KafkaLog) -> None:
    log.append("t", [NewRecord(b"k", b"a")])
    assert log.read("t", 0, 3, records_max=9) == []
    assert not log.wait("t", 0, 3, timeout_s=0.1)
    log.append("t", [NewRecord(b"k", b"%d" % number) for number in range(4)])
    assert [r.offset for r in log.read("t", 0, 3, records_max=9)] == [3, 4]


def test_a_topic_made_anew_and_shorter_is_no_log_to_go_on_with(log: KafkaLog) -> None:
    """Reading on from its start would be learning other records as if they came next."""
    log.append("t", [NewRecord(b"k", b"%d" % number) for number in range(10)])
    assert len(log.read("t", 0, 0, records_max=99)) == 10
    name = log.connection.prefix + "t"
    asyncio.run(with_admin(log.connection, lambda admin: admin.delete_topics([name])))
    _made_again(log.connection)
    with closing(KafkaLog(log.connection)) as other:
        other.append("t", [NewRecord(b"k", b"another")])
    with pytest.raises(LogUntrusted, match=r"t/0 ends at 1, but was read up to 10"):
        _read_on(log, "t", 10)


def _read_on(log: KafkaLog, topic: str, offset: int) -> None:
    """Read where nothing is to come, until that ends with an error or for half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert log.read(topic, 0, offset, records_max=9) == []
        time.sleep(0.1)


def _made_again(connection: Connection) -> None:
    deadline = time.monotonic() + 20
    while not create_topics(connection, SPECS[:1], replication=1):
        assert time.monotonic() < deadline, "the topic was not deleted"
        time.sleep(0.05)


def test_many_megabytes_are_appended_in_one_call_and_come_back_in_order(log: KafkaLog) -> None:
    rows = [NewRecord(b"k", b"%06d" % number + b"x" * 2_000) for number in range(8_000)]
    places = log.append("t", rows)
    assert places == [(0, offset) for offset in range(8_000)]
    assert values(log, "t") == [row.value for row in rows]


def test_a_publish_of_many_batches_is_one_transaction_in_order(log: KafkaLog) -> None:
    texts = [b"%06d" % number + b"x" * 900 for number in range(5_000)]
    claim = log.claim("l", 1)
    claim.publish([Output("out", b"k", text) for text in texts], b"c", expected=None, next_offset=9)
    assert shown(log, "out", 1, 5_000) == texts
    assert log.bounds("out", 1) == (0, 5_001)


def test_a_claim_that_is_fenced_within_its_publish_leaves_nothing_that_is_seen(
    log: KafkaLog,
) -> None:
    ready, go = threading.Event(), threading.Event()

    def reached(step: str) -> None:
        if step == "transaction whole":
            ready.set()
            go.wait(30)

    log.reached = reached
    claim = log.claim("l", 0)
    with ThreadPoolExecutor(1) as pool, closing(KafkaLog(log.connection)) as other:
        rows = [Output("out", b"k", b"zombie")] * 100
        published = pool.submit(claim.publish, rows, b"zombie", expected=None, next_offset=1)
        assert ready.wait(30)
        successor = other.claim("l", 0)
        go.set()
        with pytest.raises(Fenced, match="another process has taken over"):
            published.result(60)
        assert successor.committed() is None
        assert successor.epoch > claim.epoch
        successor.publish([Output("out", b"k", b"ours")], b"ours", expected=None, next_offset=1)
        assert shown(other, "out", 0, 1) == [b"ours"]
        assert other.ledger_get("l", 0, "commit") == b"ours"
    with pytest.raises(Fenced):
        claim.publish([], b"zombie", expected=None, next_offset=2)


def test_the_newest_commit_is_found_at_once_and_an_old_manifest_below_10_000_of_them(
    log: KafkaLog,
) -> None:
    assert log.ledger_put("l", 0, "manifest", b"first", expected=None)
    claim = log.claim("l", 0)
    claim.publish([], b"older", expected=None, next_offset=1)
    claim.release()
    rows = [NewRecord(b"commit", b"%d" % n, (("next-offset", b"%d" % n),)) for n in range(10_000)]
    log.append("l", [NewRecord(r.key, r.value, r.headers, partition=0) for r in rows])
    before = time.monotonic()
    assert log.ledger_get("l", 0, "commit") == b"9999"
    newest_s = time.monotonic() - before
    assert log.ledger_get("l", 0, "manifest") == b"first"
    oldest_s = time.monotonic() - before - newest_s
    # Generous, for machines that do something else as well: it takes some 0.1 and 0.4 s.
    assert newest_s < 5
    assert oldest_s < 10


def test_an_open_transaction_hides_no_key_that_it_has_not_written(log: KafkaLog) -> None:
    """A start reads the manifest before it owns anything, also past an owner that was killed."""
    log.ledger_put("l", 0, "manifest", b"m", expected=None)
    transaction(log.connection, [("l", b"commit", b"never")], leave_open, name="l-0")
    before = time.monotonic()
    assert log.ledger_get("l", 0, "manifest") == b"m"
    assert log.ledger_get("l", 0, "commit") is None
    assert log.ledger_put("l", 0, "settings", b"s", expected=None)
    assert log.ledger_get("l", 0, "manifest") == b"m"
    assert time.monotonic() - before < 20
    claim = log.claim("l", 0)
    assert claim.committed() is None
    assert log.ledger_get("l", 0, "settings") == b"s"


def test_an_open_transaction_that_wrote_a_key_is_waited_for_and_its_end_decides(
    log: KafkaLog,
) -> None:
    log.ledger_put("l", 0, "manifest", b"old", expected=None)

    def read_meanwhile(read: list[bytes | None]) -> Callable[[AIOKafkaProducer], Awaitable[None]]:
        async def then(producer: AIOKafkaProducer) -> None:
            reading = asyncio.create_task(asyncio.to_thread(log.ledger_get, "l", 0, "manifest"))
            await asyncio.sleep(1.0)
            assert not reading.done()
            await producer.commit_transaction()
            read.append(await reading)

        return then

    read: list[bytes | None] = []
    transaction(log.connection, [("l", b"manifest", b"new")], read_meanwhile(read))
    assert read == [b"new"]


def test_a_foreign_transaction_that_stays_open_is_a_named_error_in_the_end(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "OPEN_MAX_S", 1.0)
    transaction(log.connection, [("l", b"commit", b"foreign")], leave_open)
    with pytest.raises(LogUnavailable, match=r"taking over l/0.*open transaction"):
        log.claim("l", 0)
    transaction(log.connection, [("l", b"x", b"")], abort)  # ends the open one
    assert log.claim("l", 0).committed() is None


def race(connection: Connection, name: bytes, rounds: int, answers: Any) -> None:
    """Set one value after the other unless it is set; runs in a process of its own."""
    with closing(KafkaLog(connection)) as log:
        answers.put(b"ready")
        for number in range(rounds):
            text = b"%b %d" % (name, number)
            answers.put(text if log.ledger_put("l", 0, f"m{number}", text, expected=None) else b"")


def test_of_two_processes_that_set_a_value_at_once_exactly_one_wins(log: KafkaLog) -> None:
    """Also while one of them is at the next value already, and fences the other at this one."""
    context = multiprocessing.get_context("spawn")
    rounds = 8
    queues = [context.Queue(), context.Queue()]
    processes = [
        context.Process(target=race, args=(log.connection, name, rounds, queue))
        for name, queue in zip((b"one", b"two"), queues, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        assert [queue.get(timeout=60) for queue in queues] == [b"ready", b"ready"]
        for number in range(rounds):
            winners = [text for queue in queues if (text := queue.get(timeout=60))]
            assert winners == [log.ledger_get("l", 0, f"m{number}")]
    finally:
        for process in processes:
            process.join(60)
            process.kill()


def test_a_commit_that_the_broker_may_not_have_heard_is_for_the_next_owner_to_read(
    log: KafkaLog, broker: Broker
) -> None:
    """Killed just as it is asked to commit; what readers see and the ledger says agree.

    Topics are called as a pipeline's: a transaction that the broker has left hanging on some of its
    partitions is ended by the next owner, who finds them by name.
    """
    ledger, out = "p.ledger", "p.predictions"
    specs = [TopicSpec(ledger, 1, COMPACTED), TopicSpec(out, 1, KEPT)]
    create_topics(log.connection, specs, replication=1)
    killer = threading.Timer(0.002, broker.kill)

    def reached(step: str) -> None:
        if step == "transaction whole":
            # While the request is on its way; both outcomes come up.
            killer.start()

    log.reached = reached
    claim = log.claim(ledger, 0)
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(
            claim.publish, [Output(out, b"k", b"a")], b"c", expected=None, next_offset=7
        )
        wait([published], timeout=1.0)
        killer.join()
        broker.restart()
        try:
            published.result(90)
            wrote = True
        except (Fenced, LogUnavailable):
            wrote = False
    with closing(KafkaLog(log.connection)) as other:
        successor = other.claim(ledger, 0)
        if wrote:
            assert successor.committed() == b"c"
        committed = successor.committed() is not None
        assert shown(other, out, 0, int(committed)) == [b"a"] * committed
        standing = 7 if committed else None
        successor.publish([Output(out, b"k", b"b")], b"d", expected=standing, next_offset=8)
        assert shown(other, out, 0, 1 + committed)[-1] == b"b"
