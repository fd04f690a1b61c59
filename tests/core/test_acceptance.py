"""Acceptance: duplicates, event time and its median, what waits, what times out, at which bound."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from river import dummy, stats

from stream_app.codec.limits import Limits
from stream_app.core import identities
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.watermark import Watermark
from stream_app.events import Control, Label, Observation
from stream_app.learning.tasks import Regression
from stream_app.outputs import DeadLetter, Prediction
from stream_app.testing import Driver
from tests.core.history import History

HOUR = 3_600_000
T0 = 1_357_000_000_000


def pipeline(**limits: Any) -> Pipeline:
    return Pipeline(
        "p",
        task=Regression(),
        labels=Labels(wait=timedelta(hours=1)),
        metrics={},
        limits=Limits(**limits),
        versions={"v1": Version(dummy.StatisticRegressor(stats.Mean()))},
    )


def observations(names: Any, ts_ms: int) -> list[Observation]:
    return [Observation(str(name), ts_ms, {}) for name in names]


# --- event time ---------------------------------------------------------------------------------


def test_one_wrong_clock_times_out_nobody() -> None:
    with Driver(pipeline()) as driver:
        driver.send(*observations(range(100), T0))
        driver.send(Observation("wrong", T0 + 23 * HOUR, {}))
        driver.send(*observations("abc", T0 + 1))
        assert driver.counters.timed_out == 0
        assert driver.waiting == 104


def test_event_time_is_the_lower_median_of_the_newest_101() -> None:
    mark = Watermark()
    for ts_ms, median in [(10, 10), (30, 10), (20, 20), (40, 20), (25, 25)]:
        mark.advance(ts_ms)
        assert mark.now_ms == median
    for _ in range(60):
        mark.advance(100)
    assert mark.now_ms == 100
    again = Watermark.of(mark.state())
    for ts_ms in range(90, 190):
        mark.advance(ts_ms)
        again.advance(ts_ms)
        assert again.now_ms == mark.now_ms


def test_event_time_never_goes_back() -> None:
    mark = Watermark()
    seen = []
    for ts_ms in [50, 60, 1, 1, 1, 1, 70]:
        mark.advance(ts_ms)
        seen.append(mark.now_ms)
    assert seen == sorted(seen)


def test_dead_letters_move_no_time() -> None:
    with Driver(pipeline()) as driver:
        driver.send(*observations("a", T0))
        for _ in range(300):
            driver.send_bytes(b'{"kind":"label","id":"z","ts_ms":%d}' % (T0 + 20 * HOUR))
        assert driver.waiting == 1


def test_a_record_is_applied_before_it_moves_time() -> None:
    with Driver(pipeline()) as driver:
        driver.send(*observations("a", T0))
        # Its own time is past the wait; time has not come there when it is applied.
        driver.send(Label("a", T0 + 5 * HOUR, 1.0))
        assert driver.counters.labels_joined == 1


def test_a_wait_runs_from_when_an_old_observation_arrived() -> None:
    with Driver(pipeline()) as driver:
        driver.send(*observations(range(5), T0 + 10 * HOUR))
        driver.send(*observations(["old"], T0))
        driver.send(*observations(range(5, 10), T0 + 10 * HOUR + 100))
        driver.send(Label("old", T0 + 1, 1.0))
        assert driver.counters.labels_joined == 1


def test_time_passes_by_a_control_and_everything_due_times_out_at_once() -> None:
    with Driver(pipeline()) as driver:
        driver.send(*observations(range(3000), T0), Label("early", T0, 1.0))
        driver.advance(timedelta(hours=1))
        assert driver.counters.timed_out == 0
        driver.advance(timedelta(milliseconds=1))
        assert (driver.counters.timed_out, driver.waiting) == (3000, 0)
        assert driver.counters.labels_unknown == 1
        driver.send(Label("7", T0 + HOUR, 1.0))
        assert driver.counters.labels_late == 1


def test_cleaning_up_is_bounded_for_each_record() -> None:
    # Early labels go four at a time, so that no record pays for all.
    with Driver(pipeline()) as driver:
        driver.send(*(Label(f"e{i}", T0, 1.0) for i in range(10)))
        driver.send(*observations(range(200), T0 + 2 * HOUR))
        assert driver.counters.labels_unknown == 10
    history = History(pipeline())
    history.add(*(Label(f"e{i}", T0, 1.0) for i in range(10)))
    history.add(*observations(range(12), T0 + 2 * HOUR))
    assert history.fold().counters.labels_unknown == 8


# --- duplicates and bounds ----------------------------------------------------------------------


def test_a_duplicate_is_a_dead_letter_as_long_as_its_id_is_known() -> None:
    with Driver(pipeline(ids_max=3)) as driver:
        driver.send(*observations("abc", T0))
        [letter] = driver.send(*observations("a", T0))
        assert isinstance(letter, DeadLetter)
        assert (letter.reason, letter.field) == ("duplicate", "id")
        driver.send(*observations("d", T0))
        [said] = driver.send(*observations("a", T0))
        assert isinstance(said, Prediction)
        [letter] = driver.send(*observations("a", T0))
        assert isinstance(letter, DeadLetter)


def test_what_still_waits_when_its_id_is_forgotten_is_timed_out() -> None:
    with Driver(pipeline(ids_max=10)) as driver:
        driver.send(*observations(range(3 * identities.SIZE), T0))
        assert driver.counters.timed_out == 2 * identities.SIZE
        assert driver.waiting == identities.SIZE
        driver.send(Label("5", T0, 1.0))
        # Nobody knows the id any more, so the label waits for an observation.
        assert (driver.counters.labels_early, driver.counters.labels_late) == (1, 0)


def test_beyond_the_bound_the_oldest_early_label_is_dropped_and_counted() -> None:
    with Driver(pipeline(early_max=2)) as driver:
        driver.send(*(Label(name, T0, 1.0) for name in "abc"))
        assert driver.counters.labels_unknown == 1
        driver.send(*observations("abc", T0))
        assert driver.counters.labels_joined == 2
        assert driver.waiting == 1


def test_a_key_that_differs_from_the_records_is_counted_and_processed() -> None:
    with Driver(pipeline()) as driver:
        [said] = driver.send_bytes(
            b'{"kind":"observation","id":"a","ts_ms":5,"key":"k","features":{}}', b"other"
        )
        assert isinstance(said, Prediction)
        assert driver.counters.keys_differ == 1


# --- restarts -----------------------------------------------------------------------------------


def test_the_schedule_of_a_restart_decides_as_the_old_one_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first segment's earliest is settled, so its scheduled deadline is too early; the second
    # is due. Who trusts the schedule looks into the first, finds nothing, and leaves the second.
    monkeypatch.setattr(identities, "SIZE", 2)
    monkeypatch.setattr(identities, "_SHIFT", 1)
    history = History(pipeline())
    history.add(Observation("a", T0, {}), Observation("b", T0 + 9 * HOUR, {}))
    history.add(Observation("c", T0 + 1, {}), Observation("d", T0 + 9 * HOUR, {}))
    history.add(Label("a", T0, 1.0))
    history.add(*(Observation(f"n{i}", T0 + 2 * HOUR, {}) for i in range(4)))
    for count in range(5, len(history.entries) + 1):
        shorter = History(history.pipeline)
        shorter.entries = history.entries[:count]
        undisturbed = shorter.fold()
        for stop in range(1, count):
            assert shorter.fold([stop, "save", "crash"]) == undisturbed
    assert undisturbed.counters.timed_out == 1


def test_what_came_and_went_leaves_nothing_in_the_store() -> None:
    history = History(pipeline())
    history.add(*observations(range(20), T0))
    history.add(*(Label(f"e{i}", T0, 1.0) for i in range(20)))
    history.add(*(Label(str(i), T0, 1.0) for i in range(20)))
    history.add(*observations((f"e{i}" for i in range(20)), T0))
    for steps in ([], [40, "save", "crash"], [10, "save", 40, "save", "crash"]):
        outcome = history.fold([*steps, 1000, "save"])  # type: ignore[list-item]
        assert outcome.counters.labels_joined == 40
        families = [outcome.rows["acceptance"], outcome.rows["version.v1"]]
        names = {key[:1] for family in families for key in family}
        assert not names & {b"p", b"e", b"w"}


def test_a_time_control_acts_once_for_ever() -> None:
    history = History(pipeline())
    history.add(*observations("a", T0), Control("t", T0 + 1, "time"))
    history.add(
        *observations("b", T0), Control("t", T0 + 5 * HOUR, "time"), append_ms=T0 + 5 * HOUR
    )
    for steps in ([], [2, "save", "crash"], [3, "save", 1, "crash"]):
        outcome = history.fold(steps)  # type: ignore[arg-type]
        assert (outcome.counters.controls, outcome.counters.timed_out) == (1, 0)
