"""What copying a source promises, on every log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from stream_app.codec.mapping import EventMapping, RecordPart, SourceMapper
from stream_app.codec.paths import parse_path
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.source_position import ledger_place
from stream_app.core.upkeep import TopicSpec
from stream_app.errors import Fenced, LogBusy, LogUnavailable, PositionMissing, SourceUntrusted
from stream_app.hosts import source_host
from stream_app.hosts.pace import HOLD_MAX_S, Pace
from stream_app.hosts.source_host import SourceHost, skip_to
from stream_app.hosts.source_list import known_sources
from stream_app.hosts.source_status import source_statuses
from stream_app.kafka.admin import administer
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import COMPACTED, KEPT, create_topics
from stream_app.records import NewRecord, Record
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.sqlite_log import SqliteLog

EVENTS, PARTITIONS = "p.events", 2
INTERNAL = ("p.ledger", "p.intake")
MAPPER = SourceMapper(
    [
        EventMapping(
            kind="observation",
            id=(RecordPart.KEY,),
            key=(parse_path("k"),),
            time=RecordPart.APPEND_TIME,
            unit="ms",
        )
    ],
    PARTITIONS,
    1 << 16,
)


class Place(NamedTuple):
    """A log, and a topic of somebody else's that can be read through it."""

    log: Log
    topic: str


@pytest.fixture(params=["memory", "sqlite", "kafka"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    log: Log
    if request.param == "kafka":
        connection: Connection = request.getfixturevalue("connection")
        topic = f"others-{connection.prefix}topic"
        foreign = msgspec.structs.replace(connection, prefix="")
        create_topics(foreign, [TopicSpec(topic, 2)], 1)
        internal = [TopicSpec(name, PARTITIONS, COMPACTED) for name in INTERNAL]
        create_topics(connection, [TopicSpec(EVENTS, PARTITIONS, KEPT), *internal], 1)
        log = KafkaLog(connection)
    else:
        topic = "others"
        file = tmp_path / "log.db"
        log = MemoryLog() if request.param == "memory" else SqliteLog.open(file, create=True)
        log.create_topics({topic: 2, EVENTS: PARTITIONS})
    with closing(log):
        yield Place(log, topic)


def manifest(place: Place) -> Manifest:
    return Manifest(
        log_id=place.log.log_id,
        pipeline="p",
        partitions=PARTITIONS,
        semantics=1,
        initial_champion="v1",
        origins=[0] * PARTITIONS,
        public_keys={},
        settings={},
    )


def fill(place: Place, *numbers: int, partition: int = 0) -> None:
    """Append records of the others; every fifth one has no value that could be mapped."""
    records = [
        NewRecord(b"o%d" % n, b"" if n % 5 == 4 else b'{"k": "%d"}' % (n % 3), partition=partition)
        for n in numbers
    ]
    place.log.sources().append(place.topic, records)


def opened(place: Place, partition: int = 0) -> SourceHost:
    return SourceHost(place.log, "p", PARTITIONS, place.topic, partition, MAPPER)


def copied(place: Place, count: int) -> list[tuple[str, str]]:
    """Return every copy's source and key, partition by partition, once there are so many."""
    rows: list[Record] = []
    for partition in range(PARTITIONS):
        rows += place.log.read(EVENTS, partition, 0, records_max=1000)
    if len(rows) < count:  # brokers show what was committed a moment later
        place.log.wait(EVENTS, 0, 1 << 30, 0.5)
        return copied(place, count)
    headers = [dict(row.headers) for row in rows]
    return [
        (found["intake-source"].decode(), "" if "intake-refused" in found else str(row.key))
        for row, found in zip(rows, headers, strict=True)
    ]


def offsets(copies: list[tuple[str, str]]) -> list[int]:
    return [int(source.rpartition("@")[2]) for source, _ in copies]


def test_every_record_is_copied_once_by_its_events_key_also_over_many_starts(place: Place) -> None:
    for start in range(0, 12, 4):
        fill(place, *range(start, start + 4))
        with closing(opened(place)) as host:
            assert host.step() == 4
            assert host.step() == 0
            assert host.idle
    found = copied(place, 12)
    assert sorted(offsets(found)) == list(range(12))
    by_key: dict[str, list[int]] = {}
    for row in found:
        by_key.setdefault(row[1], []).append(offsets([row])[0])
    assert by_key.pop("") == [4, 9]
    assert by_key == {
        f"b'{key}'": [n for n in range(12) if n % 3 == key and n % 5 != 4] for key in range(3)
    }
    with closing(opened(place)) as host:
        assert (host.position.copied, host.position.refused) == (10, 2)


def test_a_step_ends_before_the_end_that_it_was_given(place: Place) -> None:
    fill(place, *range(5))
    with closing(opened(place)) as host:
        assert (host.step(until=3), host.idle) == (3, False)
        assert (host.step(until=3), host.idle) == (0, True)
        assert host.step(until=9) == 2


def test_of_two_workers_at_one_source_partition_the_older_one_writes_nothing_more(
    place: Place,
) -> None:
    fill(place, *range(4))
    zombie = opened(place)
    zombie.step()
    fill(place, *range(4, 8))
    if isinstance(place.log, SqliteLog):
        with pytest.raises(LogBusy):
            opened(place)
        return
    with closing(opened(place)) as owner:
        # The position is still the one that it believes in: only the fence stands in its way.
        with pytest.raises(Fenced):
            zombie.step()
        owner.step()
    with pytest.raises(Fenced):
        zombie.step()
    assert sorted(offsets(copied(place, 8))) == list(range(8))


def test_partitions_of_a_source_are_copied_side_by_side(place: Place) -> None:
    fill(place, 0, 1, partition=0)
    fill(place, 2, 3, partition=1)
    with closing(opened(place, 0)) as first, closing(opened(place, 1)) as second:
        assert [host.step() for host in (second, first)] == [2, 2]
    assert known_sources(place.log, "p") == [(place.topic, 0), (place.topic, 1)]
    assert {source for source, _ in copied(place, 4)} == {
        f"{place.topic}/{partition}@{offset}" for partition in (0, 1) for offset in (0, 1)
    }


def test_a_failure_between_the_two_leaves_neither_copies_nor_position(place: Place) -> None:
    def fail(step: str) -> None:
        # On Kafka the copies are with the broker then, and the position is not.
        if step == ("records sent" if isinstance(place.log, KafkaLog) else "mapped"):
            raise OSError(step)

    fill(place, *range(3))
    with closing(
        SourceHost(place.log, "p", PARTITIONS, place.topic, 0, MAPPER, reached=fail)
    ) as host:
        if isinstance(place.log, KafkaLog):
            host._claim._reached = fail  # type: ignore[attr-defined]
        with pytest.raises((OSError, LogUnavailable)):
            host.step()
    with closing(opened(place)) as again:
        assert (again.position.next_offset, again.position.copied) == (0, 0)
        assert again.step() == 3
    assert sorted(offsets(copied(place, 3))) == [0, 1, 2]


def test_a_position_that_is_gone_is_missed_and_not_taken_for_a_beginning(place: Place) -> None:
    fill(place, *range(3))
    with closing(opened(place)) as host:
        host.step()
    if not isinstance(place.log, MemoryLog):
        pytest.skip("only a log in memory forgets a value")
    at = ledger_place("p", place.topic, 0, PARTITIONS)
    del place.log._ledger[at.ledger, at.partition, at.key]
    with pytest.raises(PositionMissing, match="others/0"):
        opened(place)
    assert skip_to(place.log, "p", PARTITIONS, place.topic, 0, 3) is None
    fill(place, 3)
    with closing(opened(place)) as host:
        assert host.step() == 1


def test_records_that_retention_took_first_are_an_error_that_says_where_to_go_on(
    place: Place,
) -> None:
    if isinstance(place.log, KafkaLog):
        pytest.skip("there retention is the operator's")
    assert isinstance(place.log, MemoryLog | SqliteLog)
    fill(place, *range(4))
    with closing(opened(place)) as host:
        host.step(until=2)
        place.log.retain(place.topic, 0, from_offset=3)
        with pytest.raises(SourceUntrusted, match=r"from 2 to 3") as lost:
            host.step()
    assert f"--skip-to {place.topic}/0@3" in lost.value.attempt
    with pytest.raises(SourceUntrusted):
        opened(place)
    assert skip_to(place.log, "p", PARTITIONS, place.topic, 0, 3) == 2
    with closing(opened(place)) as host:
        assert host.step() == 1
    assert sorted(offsets(copied(place, 3))) == [0, 1, 3]


@pytest.mark.parametrize("place", ["memory"], indirect=True)
@pytest.mark.parametrize("records", [2, 3, 5])
def test_another_topic_under_the_same_name_is_noticed(place: Place, records: int) -> None:
    fill(place, *range(3))
    with closing(opened(place)) as host:
        host.step()
    assert isinstance(place.log, MemoryLog)
    del place.log._topics[place.topic]
    place.log.create_topics({place.topic: 2})
    fill(place, *range(10, 10 + records))
    with pytest.raises(SourceUntrusted, match="made anew"):
        opened(place)


@pytest.mark.parametrize("place", ["kafka"], indirect=True)
def test_a_topic_made_anew_is_noticed_by_its_id_before_it_is_copied_from(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was copied yet, and the new one is longer: no record tells them apart."""
    monkeypatch.setattr(source_host, "LOOK_EVERY_S", 0.0)
    assert isinstance(place.log, KafkaLog)
    foreign = msgspec.structs.replace(place.log.connection, prefix="")
    with closing(opened(place)) as host:
        administer(foreign, "testing", lambda admin: admin.delete_topics([place.topic]))
        deadline = time.monotonic() + 20.0
        while place.topic in place.log.sources().topics():
            assert time.monotonic() < deadline
        create_topics(foreign, [TopicSpec(place.topic, 2)], 1)
        fill(place, *range(3))
        with pytest.raises(SourceUntrusted, match="its id is"):
            host.step()
    with pytest.raises(SourceUntrusted, match="its id is"):
        opened(place)
    [status] = source_statuses(place.log, manifest(place))
    assert "its id is" in str(status.problem)
    assert skip_to(place.log, "p", PARTITIONS, place.topic, 0, 0) == 0
    with closing(opened(place)) as host:
        assert host.step() == 3


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_what_is_wrong_with_one_source_partition_hides_no_other(place: Place) -> None:
    for partition in (0, 1):
        fill(place, *range(3), partition=partition)
        with closing(opened(place, partition)) as host:
            host.step(until=2)
    assert isinstance(place.log, MemoryLog)
    at = ledger_place("p", place.topic, 0, PARTITIONS)
    place.log._ledger[at.ledger, at.partition, at.key] = b"no position"
    damaged, whole = source_statuses(place.log, manifest(place))
    assert "cannot be read" in str(damaged.problem)
    assert (whole.next_offset, whole.lag, whole.problem) == (2, 1, None)


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_gaps_in_a_source_ask_nobody_for_its_id(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic of transactions has one behind each; the question is a connection of its own."""
    asked: list[str] = []

    def topic_id(_: MemoryLog, topic: str) -> str:
        asked.append(topic)
        return "id"

    monkeypatch.setattr(MemoryLog, "topic_id", topic_id)
    assert isinstance(place.log, MemoryLog)
    with closing(opened(place)) as host:
        at_start = len(asked)
        for offset in (1, 3, 5):
            place.log.append_at(place.topic, 0, offset, 0, b"x", b'{"k": "1"}')
            assert host.step() == 1
        assert (at_start > 0, len(asked)) == (True, at_start)


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_a_source_that_shrinks_while_it_is_copied_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_host, "LOOK_EVERY_S", 0.0)
    fill(place, *range(3))
    with closing(opened(place)) as host:
        host.step()
        assert isinstance(place.log, MemoryLog)
        del place.log._topics[place.topic]
        place.log.create_topics({place.topic: 2})
        with pytest.raises(SourceUntrusted, match="ends at 0"):
            host.step()


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_sources_that_catch_up_go_on_together_in_the_time_of_their_records(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the shorter one, such as that of the labels, would be days ahead of the other."""
    monkeypatch.setattr(source_host, "BATCH_RECORDS_MAX", 10)
    assert isinstance(place.log, MemoryLog)
    hour_ms, pace = 3_600_000, Pace()
    for partition, (records, every_h) in enumerate([(100, 1), (20, 5)]):
        for n in range(records):
            at_ms = n * every_h * hour_ms
            place.log.append_at(place.topic, partition, n, at_ms, b"x", b'{"k": "1"}')
    hosts = [
        SourceHost(place.log, "p", PARTITIONS, place.topic, partition, MAPPER, pace=pace)
        for partition in (0, 1)
    ]
    while not all(host.idle for host in hosts):
        for host in hosts:
            host.step()
    assert [host.position.copied for host in hosts] == [100, 20]
    [rows] = [rows for p in (0, 1) if (rows := place.log.read(EVENTS, p, 0, records_max=1000))]
    times = [int(dict(row.headers)["intake-ts-ms"]) // hour_ms for row in rows]
    ahead = max(max(times[:i]) - time for i, time in enumerate(times) if i)
    assert ahead <= 10 * 5, "more than one batch of the slower one"


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_a_source_with_nothing_waiting_holds_up_nobody(place: Place) -> None:
    pace = Pace()
    assert isinstance(place.log, MemoryLog)
    place.log.append_at(place.topic, 0, 0, 0, b"x", b'{"k": "1"}')
    hosts = [
        SourceHost(place.log, "p", PARTITIONS, place.topic, partition, MAPPER, pace=pace)
        for partition in (0, 1)
    ]
    assert hosts[0].step() == 1
    place.log.append_at(place.topic, 1, 0, 10**12, b"x", b'{"k": "1"}')
    assert (hosts[1].step(), hosts[1].idle) == (0, False)  # the other may have more of its time
    assert (hosts[0].step(), hosts[0].idle) == (0, True)
    assert hosts[1].step() == 1
    place.log.append_at(place.topic, 0, 1, 0, b"x", b'{"k": "1"}')
    place.log.append_at(place.topic, 1, 1, 10**12, b"x", b'{"k": "1"}')
    assert [host.step() for host in hosts] == [1, 0]
    hosts[0].close()
    assert hosts[1].step() == 1


def test_a_source_that_is_open_waits_for_those_that_still_open() -> None:
    """Lanes open one by one, and the first would copy a day before the second has looked."""
    now_s = 0.0
    pace = Pace(lambda: now_s)
    pace.expect({"observations/0", "labels/0"})
    assert not pace.may_go("labels/0", 3_600_000)
    assert pace.may_go("observations/0", 0)
    assert not pace.may_go("labels/0", 3_600_000)
    pace.rest("observations/0")
    assert pace.may_go("labels/0", 3_600_000)
    pace.expect({"stuck/0", "labels/0"})
    assert not pace.may_go("labels/0", 3_600_000)
    now_s = HOLD_MAX_S
    assert pace.may_go("labels/0", 3_600_000)  # nobody is waited for without end


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_a_record_dated_far_ahead_waits_for_another_source_only_so_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its producer says the time; a source that is never idle does not reach it in years."""
    monkeypatch.setattr(source_host, "BATCH_RECORDS_MAX", 1)
    now_s = 0.0
    pace = Pace(lambda: now_s)
    assert isinstance(place.log, MemoryLog)
    live, ahead = (
        SourceHost(place.log, "p", PARTITIONS, place.topic, partition, MAPPER, pace=pace)
        for partition in (0, 1)
    )
    for n in range(2):
        place.log.append_at(place.topic, 1, n, 10**12, b"x", b'{"k": "1"}')
    copied_at: list[float] = []
    for n in range(1, 16):
        place.log.append_at(place.topic, 0, n, n * 1000, b"x", b'{"k": "1"}')
        assert live.step() == 1
        copied_at += [now_s] * ahead.step()
        now_s += 1.0
    assert copied_at == [HOLD_MAX_S, 2 * HOLD_MAX_S]
