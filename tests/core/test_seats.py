"""Who is champion: moved by a record, the last one of the old champion; routing and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from river import linear_model

from stream_app import Binary, Label, Observation, Pipeline, Version
from stream_app.core.commit import Commit, decode_commit, encode_commit
from stream_app.core.seats import Seat, SeatChange
from stream_app.errors import LogUntrusted, UsageError, VersionFailed
from stream_app.events import Control
from stream_app.hosts.controls import signed
from stream_app.hosts.driver import _TEST_KEY, Driver
from stream_app.hosts.replay import replay, replay_segment, whole
from stream_app.outputs import DeadLetter, Prediction
from tests.recovery.brittle import Brittle

_FAULTS = [
    Observation(f"f{i}", ts_ms=0, features={"fault": "predict"}, label=True) for i in range(50)
]


def _pipeline(**models: Any) -> Pipeline:
    models = models or {v: linear_model.LogisticRegression() for v in ("v1", "v2")}
    versions = {
        # A linear model has no use for words.
        name: Version(model, features=None if isinstance(model, Brittle) else ["price"])
        for name, model in models.items()
    }
    return Pipeline("shop", task=Binary(), versions=versions, initial_champion="v1")


def _observed(driver: Driver, first: int, last: int) -> None:
    for i in range(first, last):
        driver.send(
            Observation(f"o{i}", ts_ms=i, features={"price": float(i)}, label=bool(i % 2)),
        )


def _by(driver: Driver, topic: str) -> list[tuple[str, int]]:
    return [
        (row.version, row.source.offset)
        for row in driver.outputs(topic)
        if isinstance(row, Prediction)
    ]


def _commit(driver: Driver) -> Commit:
    value = driver.log.ledger_get("shop.ledger", 0, "commit")
    assert value is not None
    return decode_commit(value, "here")


def test_a_promote_record_is_the_last_one_of_the_old_champion() -> None:
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 3)
        driver.promote("v2")
        assert driver.champion == "v2"
        _observed(driver, 3, 6)
        assert _by(driver, "predictions") == [
            *(("v1", i) for i in range(3)),
            *(("v2", i) for i in range(4, 7)),
        ]
        assert _by(driver, "shadow.v1") == [("v1", i) for i in range(4, 7)]
        assert _by(driver, "shadow.v2") == [("v2", i) for i in range(3)]
        assert _commit(driver).seat == Seat("v2", 4)


def test_a_seat_outlives_a_crash_and_a_lost_checkpoint() -> None:
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 3)
        driver.checkpoint()
        driver.promote("v2")
        driver.crash()
        _observed(driver, 3, 5)
        assert [version for version, _ in _by(driver, "predictions")] == ["v1"] * 3 + ["v2"] * 2


def test_replay_finds_no_difference_across_promotions_of_any_version_alone_or_all() -> None:
    with Driver(_pipeline()) as driver:
        for i in range(6):
            _observed(driver, 3 * i, 3 * i + 3)
            driver.promote(("v2", "v1")[i % 2])
        for version in (None, "v1", "v2"):
            report = replay(driver.log, driver.pipeline, driver._manifest, 0, version=version)
            assert report.difference is None
            assert sum(report.outputs.values()) >= 18


def test_an_order_for_a_version_that_is_not_run_moves_nothing_and_is_remembered() -> None:
    with Driver(_pipeline()) as driver:
        with pytest.raises(UsageError):
            driver.promote("v3")
        driver._order("promote", 0, version="v3")
        assert driver.champion == "v1"
        assert driver.counters.dead_letters == 0
        [change] = _commit(driver).seats
        assert (change.champion, change.refused) == ("v3", "this partition does not run it")


@pytest.mark.parametrize("version", [None, "", "V2", "v2 ", "a" * 64])
def test_an_order_without_a_name_is_a_dead_letter(version: str | None) -> None:
    with Driver(_pipeline()) as driver:
        [letter] = driver._order("promote", 0, version=version)
        assert isinstance(letter, DeadLetter)
        assert letter.reason == "bad_promote"


def test_an_unsigned_order_and_a_copy_of_an_old_one_do_nothing() -> None:
    with Driver(_pipeline()) as driver:
        order = msgspec.json.encode(Control("p", 0, "promote", version="v2"))
        [letter] = driver.send_bytes(order)
        assert isinstance(letter, DeadLetter)
        assert letter.reason == "unsigned"
        control = signed(Control("q", 0, "promote", version="v2"), driver._manifest, _TEST_KEY)
        driver.send_bytes(msgspec.json.encode(control))
        driver.promote("v1")
        driver.send_bytes(msgspec.json.encode(control))
        assert driver.champion == "v1"


def test_a_version_that_has_failed_is_not_made_champion() -> None:
    with Driver(_pipeline(v1=linear_model.LogisticRegression(), v2=Brittle())) as driver:
        driver.send(*_FAULTS)
        assert "v2" in _commit(driver).failed
        driver.promote("v2")
        assert driver.champion == "v1"
        assert "it has failed" in _commit(driver).seats[0].refused


def test_a_champion_that_fails_after_it_was_promoted_stops_before_that_record() -> None:
    with Driver(_pipeline(v1=linear_model.LogisticRegression(), v2=Brittle())) as driver:
        driver.promote("v2")
        with pytest.raises(VersionFailed, match="the champion, failed at") as error:
            driver.send(*_FAULTS)
        assert "--from-committed" in error.value.attempt
        stopped = _commit(driver).next_offset
        driver.crash()
        with pytest.raises(VersionFailed):
            driver.send(Label("unknown", ts_ms=0, label=True))
        assert _commit(driver).next_offset == stopped


def test_a_seat_in_the_ledger_that_no_record_ordered_is_refused() -> None:
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 3)
        commit = _commit(driver)
        change = SeatChange(since=3, champion="v2", control="promote-forged")
        forged = msgspec.structs.replace(commit, seat=Seat("v2", 3), seats=[change])
        driver.log._ledger["shop.ledger", 0, "commit"] = encode_commit(forged)
        with pytest.raises(LogUntrusted, match="no valid order"):
            driver.crash()


def _erased(commit: Commit) -> Commit:
    return msgspec.structs.replace(commit, seats=[], seat=Seat("v1", 0))


def _another_seat(commit: Commit) -> Commit:
    return msgspec.structs.replace(commit, seat=Seat("v3", 4))


def _another_champion(commit: Commit) -> Commit:
    [change] = commit.seats
    seats = [msgspec.structs.replace(change, champion="v3")]
    return msgspec.structs.replace(commit, seats=seats, seat=Seat("v3", 4))


def _obeyed_later(commit: Commit) -> Commit:
    [change] = commit.seats
    seats = [msgspec.structs.replace(change, since=6)]
    return msgspec.structs.replace(commit, seats=seats, seat=Seat("v2", 6))


def _again_for_another(commit: Commit) -> Commit:
    seats = [*commit.seats, SeatChange(7, "v3", commit.seats[0].control)]
    return msgspec.structs.replace(commit, seats=seats, seat=Seat("v3", 7))


@pytest.mark.parametrize(
    "edit", [_erased, _another_seat, _another_champion, _obeyed_later, _again_for_another]
)
@pytest.mark.parametrize("saved", [True, False])
def test_a_history_of_the_seat_that_is_not_what_the_log_ordered_is_refused(
    edit: Callable[[Commit], Commit], saved: bool
) -> None:
    models = {v: linear_model.LogisticRegression() for v in ("v1", "v2", "v3")}
    with Driver(_pipeline(**models)) as driver:
        _observed(driver, 0, 3)
        driver.promote("v2")
        _observed(driver, 3, 6)
        if saved:
            driver.checkpoint()
        edited = encode_commit(edit(_commit(driver)))
        driver.log._ledger["shop.ledger", 0, "commit"] = edited
        with pytest.raises(LogUntrusted, match="committed position"):
            driver.crash()


def _without(driver: Driver, first: int, end: int) -> None:
    held = driver.log._partition("shop.predictions", 0)
    held.records = [row for row in held.records if not first <= row.offset < end]


@pytest.mark.parametrize("end", [60, 100])
def test_a_replay_from_a_place_on_takes_no_row_for_gone_that_retention_has_left_behind(
    end: int,
) -> None:
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 100)
        driver.log.retain("shop.predictions", 0, from_offset=20)
        _without(driver, 40, end)
        found = whole(driver.log, driver.pipeline, driver._manifest, 0, None)
        assert found is not None
        segment = msgspec.structs.replace(found[1], first=40)
        report = replay_segment(driver.log, driver.pipeline, driver._manifest, found[0], segment)
        assert report.skipped == 0
        assert report.difference is not None
        assert report.difference.source == "shop.events/0@40"


def test_a_replay_finds_a_second_row_behind_one_that_claims_to_come_later() -> None:
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 9)
        [row] = driver.log.read("shop.predictions", 0, 5, records_max=1)
        later = tuple(
            (name, b"shop.events/0@99" if name == "source" else value)
            for name, value in row.headers
        )
        for number, headers in enumerate((later, row.headers)):
            driver.log.append_at("shop.predictions", 0, 9 + number, 0, row.key, row.value, headers)
        report = replay(driver.log, driver.pipeline, driver._manifest, 0)
        assert report.difference is not None
        assert report.difference.position == "shop.predictions/0@10"


def test_a_long_history_keeps_who_was_champion_when_and_the_newest_reasons() -> None:
    with Driver(_pipeline()) as driver:
        for i in range(40):
            driver._order("promote", 0, version=("v2", "v1")[i % 2], reason=f"r{i}", by="ana")
        changes = _commit(driver).seats
        assert [change.champion for change in changes] == ["v2", "v1"] * 20
        assert [change.reason for change in changes] == [""] * 8 + [f"r{i}" for i in range(8, 40)]
        driver.crash()
        _observed(driver, 0, 3)
        assert _commit(driver).seats == changes


def test_a_seat_that_was_moved_by_a_record_in_the_ledger_is_refused() -> None:
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 3)
        driver.promote("v2")
        _observed(driver, 3, 6)
        commit = _commit(driver)
        [change] = commit.seats
        moved = msgspec.structs.replace(change, since=change.since + 1)
        seat = Seat("v2", moved.since)
        forged = msgspec.structs.replace(commit, seat=seat, seats=[moved])
        driver.log._ledger["shop.ledger", 0, "commit"] = encode_commit(forged)
        with pytest.raises(LogUntrusted, match="do not agree about v2"):
            replay(driver.log, driver.pipeline, driver._manifest, 0)
        with pytest.raises(LogUntrusted, match="do not agree about v2"):
            driver.crash()


def test_an_order_that_was_obeyed_and_is_edited_to_refused_is_told_by_a_replay() -> None:
    """No start can tell: whether a partition ran the version then is in no event."""
    with Driver(_pipeline()) as driver:
        _observed(driver, 0, 3)
        driver.promote("v2")
        _observed(driver, 3, 6)
        [change] = _commit(driver).seats
        refused = msgspec.structs.replace(change, refused="this partition does not run it")
        forged = msgspec.structs.replace(_commit(driver), seat=Seat("v1", 0), seats=[refused])
        driver.log._ledger["shop.ledger", 0, "commit"] = encode_commit(forged)
        driver.crash()
        report = replay(driver.log, driver.pipeline, driver._manifest, 0)
        assert report.difference is not None
        assert report.difference.source == "shop.events/0@4"
