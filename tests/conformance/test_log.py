"""What every log promises, asked of every implementation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from stream_app.codec.partitioning import partition_of
from stream_app.core.log import Claim, LedgerPlace, Log
from stream_app.core.upkeep import TopicSpec
from stream_app.errors import Fenced, UsageError
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import COMPACTED, KEPT, create_topics
from stream_app.records import NewRecord, Output
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.sqlite_log import SqliteLog
from tests.storage.children import run_child


class Clock:
    """A wall clock that a test sets."""

    now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


class MachineLog(Log, Protocol):
    """A log of this machine, whose topics and retention are ours and not an operator's."""

    def retain(self, topic: str, partition: int, *, from_offset: int) -> int: ...

    def retain_since(self, topic: str, timestamp_ms: int) -> int: ...


class Usurp(Protocol):
    """Lets another owner take over a claim that is still held."""

    def __call__(self, ledger: str, partition: int) -> None: ...


TOPICS = {"t": 1, "wide": 4, "second": 4}
LEDGERS = {"l": 4, "l.v2": 4}
VALUE = LedgerPlace("l", 0, "m")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def opened_machine_log(kind: str, root: Path, clock: Clock) -> Iterator[MachineLog]:
    opened: MachineLog
    if kind == "memory":
        opened = MemoryLog(clock_ms=clock)
    else:
        opened = SqliteLog.open(root / "log.db", create=True, clock_ms=clock)
    opened.create_topics(TOPICS)
    yield opened
    opened.close()


@contextmanager
def opened_kafka_log(connection: Connection) -> Iterator[KafkaLog]:
    topics = [TopicSpec(name, count, KEPT) for name, count in TOPICS.items()]
    ledgers = [TopicSpec(name, count, COMPACTED) for name, count in LEDGERS.items()]
    create_topics(connection, [*topics, *ledgers], replication=1)
    with closing(KafkaLog(connection)) as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Log]:
    if request.param == "kafka":
        # Asked for here, so that the other two need no broker.
        with opened_kafka_log(request.getfixturevalue("connection")) as on_kafka:
            yield on_kafka
        return
    with opened_machine_log(request.param, tmp_path, clock) as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite"])
def machine_log(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Iterator[MachineLog]:
    """What a broker leaves to its operator, its own clock or its own bounds."""
    with opened_machine_log(request.param, tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def usurp(log: Log, tmp_path: Path) -> Usurp:
    def take_over(ledger: str, partition: int) -> None:
        if not isinstance(log, SqliteLog):
            log.claim(ledger, partition)
            return
        # Losing the lock's file is the one way past a living owner; the epoch has to hold then.
        (tmp_path / "log.db.locks" / f"{ledger}@{partition}.lock").unlink()
        assert (ledger, partition) == ("l", 0)
        with run_child("claim", tmp_path / "log.db") as child:
            assert child.line()

    return take_over


def values(log: Log, topic: str, partition: int = 0) -> list[bytes]:
    return [record.value for record in log.read(topic, partition, 0, records_max=1000)]


def published(log: Log, topic: str, partition: int, count: int) -> list[bytes]:
    """Return what readers see once they see `count` records: brokers show it a moment later."""
    deadline = time.monotonic() + 20
    while len(found := values(log, topic, partition)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def new(*texts: bytes) -> list[NewRecord]:
    return [NewRecord(b"k", text) for text in texts]


def test_records_are_read_in_the_order_they_were_appended(log: Log) -> None:
    log.append("t", new(b"a", b"b"))
    log.append("t", new(b"c"))
    assert values(log, "t") == [b"a", b"b", b"c"]


def test_offsets_begin_at_zero_and_have_no_holes(log: Log) -> None:
    assert log.append("t", new(b"a", b"b")) == [(0, 0), (0, 1)]
    assert log.append("t", []) == []
    assert log.append("t", new(b"c")) == [(0, 2)]
    assert [record.offset for record in log.read("t", 0, 1, records_max=9)] == [1, 2]


@pytest.mark.parametrize("count", [1, 49, 50, 51, 149, 150])
def test_a_call_of_any_length_is_appended_whole(log: Log, count: int) -> None:
    texts = [str(number).encode() for number in range(count)]
    log.append("t", new(*texts))
    assert values(log, "t") == texts


def test_a_record_comes_back_with_all_its_bytes(log: Log) -> None:
    written = [
        NewRecord(None, b""),
        NewRecord(b"", b"\x00\xff" * 3),
        NewRecord(b"k", b"v", (("source", b"t/0@1"), ("source", b""), ("é", b"\x00"))),
        NewRecord(b"big", b"x" * 900_000),
    ]
    log.append("t", written)
    read = log.read("t", 0, 0, records_max=9)
    assert [(r.key, r.value, r.headers) for r in read] == [
        (w.key, w.value, w.headers) for w in written
    ]
    assert {(r.topic, r.partition) for r in read} == {("t", 0)}


def test_a_log_of_this_machine_takes_records_beyond_a_brokers_bound(
    machine_log: MachineLog,
) -> None:
    machine_log.append("t", new(b"x" * 3_000_000))
    assert [len(value) for value in values(machine_log, "t")] == [3_000_000]


def test_append_times_follow_each_other_also_within_a_call(log: Log) -> None:
    for _ in range(3):
        log.append("t", new(b"a", b"b"))
    times = [record.timestamp_ms for record in log.read("t", 0, 0, records_max=9)]
    assert times == sorted(times)
    assert len(times) == 6
    # And they do not change from one read to the next: a fold reads them.
    assert times == [record.timestamp_ms for record in log.read("t", 0, 0, records_max=9)]


def test_on_this_machine_a_record_carries_the_time_of_its_append(
    machine_log: MachineLog, clock: Clock
) -> None:
    log = machine_log
    clock.now_ms = 5_000
    log.append("t", new(b"a"))
    assert log.read("t", 0, 0, records_max=1)[0].timestamp_ms == 5_000


def test_on_this_machine_append_times_do_not_fall_when_the_clock_is_set_back(
    machine_log: MachineLog, clock: Clock
) -> None:
    log = machine_log
    for now_ms in (5_000, 3_000, 6_000):
        clock.now_ms = now_ms
        log.append("t", new(b"a"))
    times = [record.timestamp_ms for record in log.read("t", 0, 0, records_max=9)]
    assert times == [5_000, 5_000, 6_000]


def test_a_key_decides_the_partition_as_on_kafka(log: Log) -> None:
    keys = [f"key-{number}".encode() for number in range(50)]
    places = log.append("wide", [NewRecord(key, key) for key in keys])
    assert [partition for partition, _ in places] == [partition_of(key, 4) for key in keys]
    assert {partition for partition, _ in places} == {0, 1, 2, 3}
    for key, (partition, offset) in zip(keys, places, strict=True):
        assert log.read("wide", partition, offset, records_max=1)[0].value == key


def test_a_partition_can_be_named(log: Log) -> None:
    assert log.append("wide", [NewRecord(b"k", b"v", partition=3)]) == [(3, 0)]
    assert [log.bounds("wide", partition) for partition in range(4)] == [(0, 0)] * 3 + [(0, 1)]


def test_one_bad_record_means_that_none_is_appended(log: Log) -> None:
    with pytest.raises(UsageError):
        log.append("wide", [NewRecord(b"k", b"a"), NewRecord(b"k", b"b", partition=4)])
    assert [log.bounds("wide", partition) for partition in range(4)] == [(0, 0)] * 4


def test_a_read_is_bounded_by_records_and_by_bytes(log: Log) -> None:
    log.append("t", [NewRecord(None, b"x" * 100, (("h", b"y" * 100),)) for _ in range(10)])
    assert len(log.read("t", 0, 0, records_max=3)) == 3
    assert len(log.read("t", 0, 0, records_max=9, bytes_max=650)) == 3


def test_a_read_returns_one_record_even_if_it_is_too_big(log: Log) -> None:
    log.append("t", new(b"x" * 1000, b"y"))
    assert [len(r.value) for r in log.read("t", 0, 0, records_max=9, bytes_max=10)] == [1000]


def test_a_read_at_the_end_is_empty(log: Log) -> None:
    assert log.read("t", 0, 0, records_max=9) == []
    log.append("t", new(b"a"))
    assert log.read("t", 0, 1, records_max=9) == []
    assert log.read("t", 0, 99, records_max=9) == []


def test_a_read_that_asks_for_nothing_is_refused(log: Log) -> None:
    with pytest.raises(UsageError, match="reads nothing"):
        log.read("t", 0, 0, records_max=0)


@pytest.mark.parametrize("call", ["append", "read", "bounds", "wait"])
def test_an_unknown_topic_is_named_with_those_that_exist(log: Log, call: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: log.append("nope", new(b"a")),
        "read": lambda: log.read("nope", 0, 0, records_max=1),
        "bounds": lambda: log.bounds("nope", 0),
        "wait": lambda: log.wait("nope", 0, 0, 0),
    }
    with pytest.raises(UsageError, match=r"no topic nope .*\(.*second, t, wide\)"):
        calls[call]()


def test_an_unknown_partition_is_refused(log: Log) -> None:
    with pytest.raises(UsageError, match="no partition 4 in wide, which has 4"):
        log.read("wide", 4, 0, records_max=1)
    with pytest.raises(UsageError, match="no partition -1"):
        log.bounds("wide", -1)


def test_topics_that_are_there_are_left_alone(log: Log) -> None:
    log.append("t", new(b"a"))
    log.create_topics({"t": 1, "wide": 4})
    assert {topic: log.topics()[topic] for topic in TOPICS} == TOPICS
    assert values(log, "t") == [b"a"]
    with pytest.raises(UsageError, match="Topic wide has 4 partitions, not 5"):
        log.create_topics({"t": 1, "wide": 5})


def test_on_this_machine_topics_are_made_once_all_or_none(machine_log: MachineLog) -> None:
    log = machine_log
    log.append("t", new(b"a"))
    log.create_topics({"t": 1, "new": 2})
    assert log.topics() == {**TOPICS, "new": 2}
    assert values(log, "t") == [b"a"]
    with pytest.raises(UsageError, match="Topic wide has 4 partitions, not 5"):
        log.create_topics({"other": 1, "wide": 5})
    assert "other" not in log.topics()


@pytest.mark.parametrize(("topic", "count"), [("", 1), ("a/b", 1), ("x" * 250, 1), ("t0", 0)])
def test_a_topic_that_kafka_would_refuse_is_refused(log: Log, topic: str, count: int) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        log.create_topics({topic: count})


def test_a_wait_returns_at_once_when_the_offset_is_there(log: Log) -> None:
    log.append("t", new(b"a"))
    assert log.wait("t", 0, 0, timeout_s=0)


def test_a_wait_ends_when_its_time_is_up(log: Log) -> None:
    before = time.monotonic()
    assert not log.wait("t", 0, 0, timeout_s=0.1)
    assert 0.1 <= time.monotonic() - before < 1


def test_a_wait_is_woken_by_the_append_it_waits_for_and_by_no_other(log: Log) -> None:
    log.append("t", new(b"a"))
    woken: list[float] = []

    def waiter() -> None:
        assert log.wait("t", 0, 2, timeout_s=10)
        woken.append(time.monotonic())

    thread = threading.Thread(target=waiter)
    thread.start()
    time.sleep(0.1)
    log.append("wide", [NewRecord(b"k", b"other topic")])
    log.append("t", new(b"b"))
    time.sleep(0.1)
    assert not woken
    appended = time.monotonic()
    log.append("t", new(b"c"))
    thread.join()
    assert woken[0] - appended < 1


def test_threads_append_at_once_and_nothing_is_lost(log: Log) -> None:
    def appender(name: int) -> None:
        for number in range(20):
            log.append("t", new(f"{name}:{number}".encode()))

    threads = [threading.Thread(target=appender, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = log.read("t", 0, 0, records_max=1000)
    assert [record.offset for record in records] == list(range(80))
    assert len({record.value for record in records}) == 80


def test_nothing_was_committed_before_the_first_publish(log: Log) -> None:
    assert log.claim("l", 0).committed() is None


def outputs(*texts: bytes) -> list[Output]:
    return [Output("wide", b"some key", text, (("h", text),)) for text in texts]


def test_outputs_and_commit_are_published_as_one(log: Log) -> None:
    claim = log.claim("l", 2)
    claim.publish(outputs(b"a"), b"commit 1", expected=None, next_offset=10)
    claim.publish(outputs(b"z"), b"commit 2", expected=10, next_offset=20)
    assert claim.committed() == b"commit 2"
    assert log.ledger_get("l", 2, "commit") == b"commit 2"
    assert log.ledger_get("l", 0, "commit") is None
    assert published(log, "wide", 2, 2) == [b"a", b"z"]


def test_outputs_go_to_the_claims_partition_whatever_their_key(log: Log) -> None:
    mixed = [Output("wide", b"x", b"1"), Output("second", None, b"2"), Output("wide", b"y", b"3")]
    log.claim("l", 3).publish(mixed, b"c", expected=None, next_offset=1)
    assert published(log, "wide", 3, 2) == [b"1", b"3"]
    assert published(log, "second", 3, 1) == [b"2"]


def refused(log: Log, claim: Claim, expected: int | None) -> None:
    before = log.ledger_get("l", 0, "commit")
    with pytest.raises(Fenced):
        claim.publish(outputs(b"no"), b"no", expected=expected, next_offset=99)
    assert log.ledger_get("l", 0, "commit") == before
    assert b"no" not in values(log, "wide", 0)


def test_a_publish_from_another_position_is_fenced_and_writes_nothing(log: Log) -> None:
    claim = log.claim("l", 0)
    refused(log, claim, expected=0)
    claim.publish(outputs(b"a"), b"c", expected=None, next_offset=10)
    refused(log, claim, expected=None)
    refused(log, claim, expected=9)
    claim.publish(outputs(b"b"), b"d", expected=10, next_offset=20)
    assert published(log, "wide", 0, 2) == [b"a", b"b"]


def test_a_claim_that_was_taken_over_is_fenced_and_writes_nothing(log: Log, usurp: Usurp) -> None:
    claim = log.claim("l", 0)
    claim.publish(outputs(b"a"), b"c", expected=None, next_offset=10)
    usurp("l", 0)
    refused(log, claim, expected=10)
    # Not later either: a successor's records would come after what it left.
    log.append("wide", [NewRecord(b"k", b"after", partition=0)])
    assert published(log, "wide", 0, 2) == [b"a", b"after"]


def test_a_released_claim_is_fenced_and_its_successor_goes_on(log: Log) -> None:
    first = log.claim("l", 0)
    first.publish(outputs(b"a"), b"c", expected=None, next_offset=10)
    first.release()
    first.release()
    refused(log, first, expected=10)
    second = log.claim("l", 0)
    assert second.epoch > first.epoch
    assert second.committed() == b"c"
    second.publish(outputs(b"b"), b"d", expected=10, next_offset=20)


def test_claims_of_other_ledgers_and_partitions_do_not_fence_each_other(log: Log) -> None:
    claims = [log.claim("l", 0), log.claim("l", 1), log.claim("l.v2", 0)]
    for claim in claims:
        claim.publish([], b"c", expected=None, next_offset=1)


def test_on_this_machine_a_ledger_has_any_name(machine_log: MachineLog) -> None:
    claim = machine_log.claim("a/b c", 0)
    claim.publish([], b"c", expected=None, next_offset=1)
    assert machine_log.ledger_get("a/b c", 0, "commit") == b"c"


def test_a_publish_to_an_unknown_topic_or_partition_writes_nothing(log: Log) -> None:
    claim = log.claim("l", 1)
    for topic in ("nope", "t"):
        with pytest.raises(UsageError):
            claim.publish(
                [*outputs(b"a"), Output(topic, None, b"")], b"c", expected=None, next_offset=1
            )
    assert claim.committed() is None
    assert log.bounds("wide", 1) == (0, 0)


def test_a_ledger_value_changes_only_from_what_was_expected(log: Log) -> None:
    assert log.ledger_put("l", 0, "manifest", b"1", expected=None)
    assert not log.ledger_put("l", 0, "manifest", b"2", expected=None)
    assert not log.ledger_put("l", 0, "manifest", b"2", expected=b"0")
    assert log.ledger_get("l", 0, "manifest") == b"1"
    assert log.ledger_put("l", 0, "manifest", b"2", expected=b"1")
    assert log.ledger_get("l", 0, "manifest") == b"2"
    assert log.ledger_get("l", 0, "settings") is None
    assert log.ledger_get("l", 1, "manifest") is None


def test_an_append_with_a_ledger_value_is_both_or_neither(log: Log) -> None:
    first = log.append_with_ledger("t", new(b"a"), VALUE, b"1", expected=None)
    assert log.append_with_ledger("t", new(b"b"), VALUE, b"2", expected=None) is None
    third = log.append_with_ledger("t", new(b"c"), VALUE, b"3", expected=b"1")
    assert published(log, "t", 0, 2) == [b"a", b"c"]
    records = log.read("t", 0, 0, records_max=9)
    assert [first, third] == [[(0, record.offset)] for record in records]
    assert log.ledger_get("l", 0, "m") == b"3"


def test_on_this_machine_a_transaction_leaves_no_hole_in_the_offsets(
    machine_log: MachineLog,
) -> None:
    log = machine_log
    assert log.append_with_ledger("t", new(b"a"), VALUE, b"1", expected=None) == [(0, 0)]
    assert log.append_with_ledger("t", new(b"b"), VALUE, b"2", expected=b"1") == [(0, 1)]
    log.claim("l", 2).publish(outputs(b"x"), b"c", expected=None, next_offset=1)
    assert log.bounds("wide", 2) == (0, 1)


def test_only_a_claim_writes_the_commit(log: Log) -> None:
    with pytest.raises(UsageError, match="commit"):
        log.ledger_put("l", 0, "commit", b"x", expected=None)
    with pytest.raises(UsageError, match="commit"):
        log.append_with_ledger("t", [], LedgerPlace("l", 0, "commit"), b"x", expected=None)


def test_a_claimed_value_and_its_records_are_one_step(log: Log) -> None:
    claim = log.claim_value(VALUE)
    assert claim.value() is None
    places = claim.append("t", new(b"a", b"b"), b"1", expected=None)
    assert claim.value() == b"1"
    assert claim.append("t", [], b"2", expected=b"1") == []
    places += claim.append("t", new(b"c"), b"3", expected=b"2")
    assert published(log, "t", 0, 3) == [b"a", b"b", b"c"]
    assert places == [(0, record.offset) for record in log.read("t", 0, 0, records_max=9)]
    claim.release()
    assert log.claim_value(VALUE).value() == b"3"


def test_a_claim_that_believes_in_another_value_writes_nothing(log: Log) -> None:
    claim = log.claim_value(VALUE)
    claim.append("t", new(b"a"), b"1", expected=None)
    with pytest.raises(Fenced):
        claim.append("t", new(b"b"), b"2", expected=b"0")
    assert published(log, "t", 0, 1) == [b"a"]
    assert log.ledger_get("l", 0, "m") == b"1"


def test_a_claim_of_a_value_that_was_taken_over_writes_nothing(log: Log, tmp_path: Path) -> None:
    zombie = log.claim_value(VALUE)
    zombie.append("t", new(b"a"), b"1", expected=None)
    if isinstance(log, SqliteLog):
        # Losing the lock's file is the one way past a living owner; the epoch has to hold then.
        (tmp_path / "log.db.locks" / "l%2Fm@0.lock").unlink()
        with run_child("claim_value", tmp_path / "log.db") as child:
            assert child.line()
    else:
        owner = log.claim_value(VALUE)
        assert owner.value() == b"1"
    # The value is still the one that it believes in: only the fence stands in its way.
    with pytest.raises(Fenced):
        zombie.append("t", new(b"b"), b"2", expected=b"1")
    assert published(log, "t", 0, 1) == [b"a"]
    assert log.ledger_get("l", 0, "m") == b"1"


def test_claims_of_other_values_are_left_alone(log: Log) -> None:
    claims = [log.claim_value(LedgerPlace("l", 0, f"source/{number}")) for number in range(2)]
    log.claim("l", 0)
    for claim in claims:
        claim.append("wide", new(b"x"), b"1", expected=None)
        claim.append("wide", new(b"y"), b"2", expected=b"1")
    assert log.ledger_put("l", 0, "m", b"1", expected=None)


def test_a_claimed_value_with_records_for_no_topic_sets_nothing(log: Log) -> None:
    claim = log.claim_value(VALUE)
    with pytest.raises(UsageError, match="nope"):
        claim.append("nope", new(b"a"), b"1", expected=None)
    assert log.ledger_get("l", 0, "m") is None


def test_on_this_machine_retention_moves_the_start_and_offsets_go_on(
    machine_log: MachineLog,
) -> None:
    log = machine_log
    log.append("t", new(*[b"x"] * 10))
    assert log.retain("t", 0, from_offset=4) == 4
    assert log.bounds("t", 0) == (4, 10)
    assert [r.offset for r in log.read("t", 0, 0, records_max=2)] == [4, 5]
    assert log.retain("t", 0, from_offset=99) == 6
    assert log.bounds("t", 0) == (10, 10)
    assert log.append("t", new(b"y")) == [(0, 10)]
    assert values(log, "t") == [b"y"]


def test_on_this_machine_retention_by_age_keeps_what_was_appended_since(
    machine_log: MachineLog, clock: Clock
) -> None:
    log = machine_log
    for now_ms in (1_000, 2_000, 2_000, 3_000):
        clock.now_ms = now_ms
        log.append("t", new(b"x"))
    assert log.retain_since("t", 2_000) == 1
    assert log.bounds("t", 0) == (1, 4)
    assert log.retain_since("t", 2_001) == 2
    assert log.retain_since("t", 9_000) == 1
    assert log.bounds("t", 0) == (4, 4)


def test_a_closed_log_says_so(log: Log) -> None:
    log.close()
    log.close()
    with pytest.raises(UsageError, match="closed"):
        log.append("t", new(b"a"))


def test_two_logs_have_two_identities(log: Log, tmp_path: Path) -> None:
    other = SqliteLog.open(tmp_path / "other.db", create=True)
    assert len(log.log_id) >= 22  # a UUID, in Kafka's spelling or in hexadecimal digits
    assert other.log_id != log.log_id
    other.close()


def test_memory_accepts_holes_and_append_times_of_the_tests_choice() -> None:
    log = MemoryLog()
    log.create_topics({"t": 1})
    log.append_at("t", 0, 5, 700, b"k", b"a", (("h", b"1"),))
    log.append_at("t", 0, 9, 600, None, b"b")
    read = log.read("t", 0, 0, records_max=9)
    assert [(r.offset, r.timestamp_ms, r.key) for r in read] == [(5, 700, b"k"), (9, 600, None)]
    assert log.bounds("t", 0) == (0, 10)
    assert [r.offset for r in log.read("t", 0, 6, records_max=9)] == [9]
    with pytest.raises(UsageError, match="given before"):
        log.append_at("t", 0, 9, 800, None, b"c")
    assert log.append("t", new(b"d")) == [(0, 10)]
