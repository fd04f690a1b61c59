"""Drift monitors: an alert is an output, good news is none, and a reset really starts anew."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from river import drift, linear_model, preprocessing, tree

from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.events import Observation
from stream_app.learning.monitors import NEWEST, Monitor
from stream_app.learning.tasks import Binary
from stream_app.outputs import DriftAlert, Prediction
from stream_app.testing import Driver
from tests.core.history import History, values


def pipeline(*monitors: DriftMonitor, **more: Any) -> Pipeline:
    declared: dict[str, Any] = {
        "versions": {
            "v1": Version(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
            "v2": Version(tree.HoeffdingTreeClassifier(grace_period=20)),
        },
        "initial_champion": "v1",
        **more,
    }
    wait = Labels(wait=timedelta(days=1))
    return Pipeline("p", task=Binary(), labels=wait, metrics={}, drift=monitors, **declared)


def stream(n: int, *, turn: int) -> list[Observation]:
    """Return labelled observations whose concept is turned round at `turn`."""
    chance = random.Random(1)
    rows = []
    for i in range(n):
        a = chance.gauss(0.0, 1.0)
        rows.append(
            Observation(
                f"o{i}", i, {"a": a, "level": float(i >= turn) * 9}, label=(a > 0) != (i >= turn)
            )
        )
    return rows


def alerts(outputs: list[Any]) -> list[DriftAlert]:
    return [o for o in outputs if isinstance(o, DriftAlert)]


def test_an_error_that_rises_is_an_alert_of_each_version_in_its_own_topic() -> None:
    with Driver(pipeline(DriftMonitor("error", drift.ADWIN()))) as driver:
        driver.send(*stream(900, turn=500))
        for version, topic in (("v1", "drift-alerts"), ("v2", "shadow.v2")):
            found = alerts(driver.outputs(topic))
            assert found
            first = found[0]
            assert (first.version, first.monitor, first.detector) == (version, "error", "ADWIN")
            assert (first.direction, first.action) == ("rise", "alert")
            assert first.before is not None
            assert first.after is not None
            assert first.before < first.after
            assert 500 <= first.source.offset < 700
            assert first.id == f"p/{version}/0@{first.source.offset}/drift_alert/error"


def fold(values: list[float], watches: str, detector: Any = None) -> list[Any]:
    monitor = Monitor("m", watches, detector or drift.ADWIN())
    return [firing for value in values if (firing := monitor.update(value)) is not None]


def test_an_error_that_falls_alerts_nobody() -> None:
    chance = random.Random(2)
    falling = [float(chance.random() < (0.9 if i < 400 else 0.05)) for i in range(800)]
    assert fold(falling, "error") == []
    # The detector itself did fire: on a feature it is told.
    assert {firing.direction for firing in fold(falling, "feature:a")} == {"fall"}


def test_an_error_that_falls_in_the_first_hundred_alerts_nobody_either() -> None:
    learning = [1.0] * 48 + [0.0] * 50
    assert fold(learning, "error") == []
    assert [f.direction for f in fold(learning, "feature:a")] == ["fall"]
    rising = [0.0] * 48 + [1.0] * 50
    [firing, *_] = fold(rising, "error")
    assert (firing.direction, firing.before) == ("rise", None)


def test_before_and_after_are_means_around_the_newest_hundred() -> None:
    class AtLast:
        drift_detected = False
        seen = 0

        def update(self, _value: float) -> None:
            self.seen += 1
            self.drift_detected = self.seen in (NEWEST + 50, NEWEST + 60)

    rows = [2.0] * 50 + [3.0] * NEWEST + [5.0] * 10
    first, second = fold(rows, "feature:a", AtLast())
    assert (first.before, first.after) == (2.0, 3.0)
    # It starts anew after a firing.
    assert (second.before, second.after) == (None, 5.0)


def test_a_mean_of_zero_before_is_a_mean() -> None:
    fired = fold([0.0] * 300 + [-9.0] * 300, "feature:a")
    assert fired[0].direction == "fall"


def test_a_feature_alert_belongs_to_no_version_and_comes_once() -> None:
    monitor = DriftMonitor("feature:level", drift.PageHinkley(), name="level moved")
    with Driver(pipeline(monitor)) as driver:
        driver.send(*stream(400, turn=200))
        found = alerts(driver.outputs("drift-alerts"))
        assert found
        assert not found[0].version
        assert found[0].monitor == "level moved"
        assert found[0].id == f"p/0@{found[0].source.offset}/drift_alert/level moved"
        assert alerts(driver.outputs("shadow.v2")) == []


def resetting(watches: str, detector: Any) -> Pipeline:
    return pipeline(DriftMonitor(watches, detector, action="reset"))


def test_a_reset_lets_the_model_start_anew_and_its_count_with_it() -> None:
    with Driver(resetting("error", drift.ADWIN())) as driver:
        out = driver.send(*stream(900, turn=500))
        [alert, *_] = [a for a in alerts(out) if a.version == "v1"]
        assert alert.action == "reset"
        said = [o for o in out if isinstance(o, Prediction) and o.version == "v1"]
        counts = [o.learned for o in said]
        at = next(i for i, o in enumerate(said) if o.source.offset == alert.source.offset)
        # The example that fired it is learned by the new model.
        assert counts[at : at + 3] == [at, 1, 2]
        fresh = [o for o in out if isinstance(o, Prediction) and o.version == "v2"]
        assert max(o.learned for o in fresh) >= 500


def test_a_feature_monitor_can_reset_too_and_only_versions_that_see_the_feature() -> None:
    detector = DriftMonitor("feature:level", drift.PageHinkley(), action="reset")
    versions = {
        "sees": Version(linear_model.LogisticRegression()),
        "blind": Version(linear_model.LogisticRegression(), features=["a"]),
    }
    with Driver(pipeline(detector, versions=versions, initial_champion="sees")) as driver:
        driver.send(*stream(300, turn=150))
        [said] = [o for o in driver.outputs("shadow.blind") if isinstance(o, Prediction)][-1:]
        assert said.learned == 299
        [said] = [o for o in driver.outputs("predictions") if isinstance(o, Prediction)][-1:]
        assert said.learned < 150


def test_alerts_and_resets_are_the_same_across_restarts() -> None:
    history = History(
        pipeline(
            DriftMonitor("error", drift.ADWIN()),
            DriftMonitor("error", drift.KSWIN(window_size=60, stat_size=20), name="kswin"),
            DriftMonitor("feature:level", drift.PageHinkley()),
            DriftMonitor("error", drift.ADWIN(delta=0.01), name="resets", action="reset"),
            digest_every=50,
            seed=4,
        )
    )
    history.add(*stream(450, turn=200))
    calm = history.fold()
    assert len(values(calm, "drift-alerts")) >= 3
    stops: list[Any] = [150, "save", 60, "crash", 90, "save", "crash", 40, "crash"]
    assert history.fold(stops) == calm
