"""Two versions on the same labelled events: the figures, what is left out, and who is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from river import dummy, linear_model, metrics, preprocessing

from stream_app.codec.limits import Limits
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.seats import NEVER, SeatChange
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, UsageError
from stream_app.events import Label, Observation
from stream_app.hosts.bounds import parse_bounds
from stream_app.hosts.comparing import compare
from stream_app.hosts.comparison import better_version
from stream_app.hosts.version_rows import reigns
from stream_app.learning.tasks import Binary
from tests.core.history import History
from tests.golden.cases import CASES
from tests.hosts.folded import folded, rows, with_seat_changed

T0 = 1_700_000_000_000
EVENTS = 400


def _linear(rate: float) -> Version:
    return Version(
        preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=rate), features=["x"]
    )


def _pipeline(**changed: Any) -> Pipeline:
    declared: dict[str, Any] = {
        "task": Binary("late", "on time"),
        "features": {"x": float, "kind": str, "hour": int},
        "labels": Labels(wait=timedelta(minutes=10)),
        "metrics": metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss() + metrics.F1(),
        "versions": {"v1": _linear(0.0), "v2": _linear(0.3), "same": _linear(0.0)},
        "initial_champion": "v1",
        "evaluate_every": 1,
        "limits": Limits(ids_max=60),
    }
    return Pipeline("trains", **declared | changed)


def _history(pipeline: Pipeline, events: int = EVENTS) -> History:
    """Labels come after ten more events, some too late, some twice, some never."""
    history, chance = History(pipeline), random.Random(3)
    coming: list[tuple[int, Label]] = []
    for i in range(events):
        now = T0 + i * 60_000
        x = chance.gauss(0, 1)
        late = "late" if x + chance.gauss(0, 1) > 0 else "on time"
        while coming and coming[0][0] <= i:
            history.add(coming.pop(0)[1])
        features: dict[str, Any] = {"x": x, "kind": chance.choice("ab"), "hour": i % 24}
        history.add(Observation(f"o{i}", now, features, key=f"k{i % 3}"))
        wait = 30 if i % 11 == 0 else 5  # too late
        label = Label(f"o{i}", now + 60_000 * wait, late, key=f"k{i % 3}")
        if i % 7:
            coming.append((i + wait, label))
        if i % 5 == 0:
            coming.append((i + wait + 1, msgspec.structs.replace(label, label="on time")))
        coming.sort(key=lambda row: row[0])
    return history


def _newest_totals(records: list[Any], version: str) -> dict[str, float]:
    found = [json.loads(r.value) for r in records if b'"kind":"evaluation"' in r.value]
    newest = [row for row in found if row["version"] == version][-1]
    return {name: value["total"] for name, value in newest["metrics"].items()}


def test_figures_are_those_that_live_evaluations_published() -> None:
    log, manifest = folded(_history(_pipeline()))
    found = compare(log, None, manifest, "v1", "v2")
    assert {f.name: f.a for f in found.metrics} == _newest_totals(
        rows(log, "trains.evaluations"), "v1"
    )
    assert {f.name: f.b for f in found.metrics} == _newest_totals(
        rows(log, "trains.shadow.v2"), "v2"
    )
    assert found.counted.compared > 200
    assert found.counted.unlabelled > 50
    assert found.counted.compared + found.counted.unlabelled == EVENTS


def test_figures_are_rivers_over_the_same_events_by_hand() -> None:
    history = _history(_pipeline())
    log, manifest = folded(history)
    begin, end = 100, 500
    bounds = parse_bounds(f"0@{begin}", f"0@{end}", 0)
    found = compare(log, None, manifest, "v1", "v2", bounds)
    published = {
        version: {
            row["source"]["offset"]: row["probability"]
            for row in (json.loads(r.value) for r in rows(log, topic))
            if row["kind"] == "prediction"
        }
        for version, topic in (("v1", "trains.predictions"), ("v2", "trains.shadow.v2"))
    }
    by_hand: dict[str, Any] = {
        version: (metrics.ROCAUC(20), metrics.LogLoss(), metrics.F1()) for version in published
    }
    waiting: dict[str, tuple[int, int]] = {}
    now: list[int] = []
    compared = 0
    for offset, entry in enumerate(history.entries):
        event = json.loads(entry.value)
        time = max([sorted(now[-101:])[(len(now[-101:]) - 1) // 2]] if now else [0])
        if event["kind"] == "observation":
            waiting[event["id"]] = offset, max(event["ts_ms"], time) + 600_000
        elif event["id"] in waiting and waiting[event["id"]][1] >= time:
            at, _ = waiting.pop(event["id"])
            for version, scores in by_hand.items() if begin <= at < end else ():
                p, late = published[version][at], event["label"] == "late"
                scores[0].update(late, {True: p, False: 1 - p})
                scores[1].update(late, {True: p, False: 1 - p})
                scores[2].update(late, p > 0.5)
            compared += begin <= at < end
        elif event["id"] not in waiting:
            continue_refused = event["label"]  # a second label: duplicate or conflicting
            assert continue_refused in ("late", "on time")
        now.append(event["ts_ms"])
    assert found.counted.compared == compared
    for i, figures in enumerate(found.metrics):
        assert figures.a == pytest.approx(by_hand["v1"][i].get(), abs=1e-12)
        assert figures.b == pytest.approx(by_hand["v2"][i].get(), abs=1e-12)


def test_an_identical_version_shows_no_difference_at_all() -> None:
    log, manifest = folded(_history(_pipeline()))
    found = compare(log, None, manifest, "v1", "same", by="kind")
    for figures in [*found.metrics, *(f for part in found.slices for f in part.metrics)]:
        assert (figures.difference, figures.low, figures.high) == (0, 0, 0)
        assert better_version(figures, "v1", "same") is None
    assert found.verdict.startswith("no difference that these events can show")
    assert found.disagreements == []


def test_a_promotion_in_between_changes_nothing_of_what_is_compared() -> None:
    log, manifest = folded(_history(_pipeline()))
    before = compare(log, None, manifest, "v1", "v2")
    changed = with_seat_changed(log, manifest, 333, "v2")
    moved = len(rows(changed, "trains.shadow.v1"))
    assert moved > 100
    assert compare(changed, None, manifest, "v1", "v2") == before


def test_a_version_reigns_from_each_order_that_was_obeyed_to_the_next_one() -> None:
    orders = [
        SeatChange(50, "v2", "a"),
        SeatChange(60, "v3", "b", refused="it has failed"),
        SeatChange(80, "v1", "c"),
        SeatChange(90, "v2", "d"),
        SeatChange(90, "v1", "e"),
    ]
    assert reigns("v1", orders, "v1") == [(0, 50), (80, 90), (90, NEVER)]
    assert reigns("v1", orders, "v2") == [(50, 80)]
    assert reigns("v1", orders, "v3") == []


@pytest.mark.parametrize("name", CASES)
def test_labels_join_as_they_joined_live_whatever_the_log_holds(name: str) -> None:
    """The golden logs have every kind of record; a wrong count of any kind would be an error."""
    history = CASES[name]()
    log, manifest = folded(history)
    a, b = history.pipeline.versions
    found = compare(log, history.pipeline, manifest, a, b)
    assert found.counted.compared > 10


def test_another_log_than_the_learned_one_is_refused() -> None:
    log, manifest = folded(_history(_pipeline()))
    place = Topics("trains").ledger
    value = log.ledger_get(place, 0, "commit")
    assert value is not None
    commit = json.loads(value)
    commit["counters"]["labels_joined"] += 1
    at = commit["next_offset"]
    changed = json.dumps(commit).encode()
    log.claim(place, 0).publish([], changed, expected=at, next_offset=at)
    with pytest.raises(LogUntrusted, match="labels_joined"):
        compare(log, None, manifest, "v1", "v2")


def test_parts_add_up_to_the_whole() -> None:
    log, manifest = folded(_history(_pipeline()))
    for by, expected in (("key", {"k0", "k1", "k2"}), ("kind", {"a", "b"})):
        found = compare(log, None, manifest, "v1", "v2", by=by)
        assert {part.value for part in found.slices} == expected
        assert sum(part.examples for part in found.slices) == found.counted.compared
    found = compare(log, None, manifest, "v1", "v2", by="x")
    assert len(found.slices) == 5
    assert found.slices[0].value.startswith("below")
    assert sum(part.examples for part in found.slices) == found.counted.compared
    sizes = [part.examples for part in found.slices]
    assert max(sizes) < 2 * min(sizes)
    assert sum(span.examples for span in found.spans) == found.counted.compared


def test_the_largest_differences_are_the_largest() -> None:
    log, manifest = folded(_history(_pipeline()))
    found = compare(log, None, manifest, "v1", "v2").disagreements
    apart = [abs(row.loss_a - row.loss_b) for row in found]
    assert apart == sorted(apart, reverse=True)
    assert len(found) == 10
    [event] = log.read("trains.events", 0, int(found[0].position.rpartition("@")[2]), records_max=1)
    assert json.loads(event.value)["id"] == found[0].observation_id


def test_what_retention_has_left_is_compared_and_said() -> None:
    log, manifest = folded(_history(_pipeline()))
    log.retain("trains.shadow.v2", 0, from_offset=300)
    found = compare(log, None, manifest, "v1", "v2")
    assert found.counted.only_a > 50
    assert found.counted.only_b == 0
    assert found.notes == ["the oldest outputs of trains.shadow.v2/0 are gone by retention"]
    whole = found.counted
    log.retain("trains.events", 0, from_offset=400)
    found = compare(log, None, manifest, "v1", "v2")
    assert found.counted.compared < whole.compared
    assert any("trains.events/0@400 are gone" in note for note in found.notes)


def test_null_predictions_are_counted_and_score_nobody() -> None:
    pipeline = _pipeline(
        versions={"v1": _linear(0.0), "v2": Version(dummy.PriorClassifier())},
        metrics=metrics.LogLoss(),
    )
    log, manifest = folded(_history(pipeline))
    found = compare(log, None, manifest, "v1", "v2")
    assert found.counted.unscored_b > 0
    assert found.counted.unscored_a == 0
    assert found.counted.compared + found.counted.unscored_b + found.counted.unlabelled == EVENTS


def test_a_pipeline_without_metrics_is_compared_by_its_tasks_own() -> None:
    log, manifest = folded(_history(_pipeline(metrics={})))
    names = [figures.name for figures in compare(log, None, manifest, "v1", "v2").metrics]
    assert names == ["ROCAUC", "LogLoss"]


def _unlabelled(pipeline: Pipeline) -> History:
    history = History(pipeline)
    history.add(
        *(Observation(f"o{i}", T0 + i, {"x": 1.0, "kind": "a", "hour": 1}) for i in range(9))
    )
    return history


@pytest.mark.parametrize(
    ("make", "a", "b", "problem", "attempt"),
    [
        (_history, "v1", "smae", "no version 'smae', only same, v1, v2", "same"),
        (_history, "v1", "v1", "are one version", "two versions"),
        (_unlabelled, "v1", "v2", "9 by both and have no label yet", "wider range"),
    ],
)
def test_what_cannot_be_compared_is_named(
    make: Callable[[Pipeline], History], a: str, b: str, problem: str, attempt: str
) -> None:
    log, manifest = folded(make(_pipeline()))
    with pytest.raises(UsageError, match=problem) as raised:
        compare(log, None, manifest, a, b)
    assert attempt in raised.value.attempt


def test_a_version_without_predictions_is_to_be_built_first() -> None:
    log, manifest = folded(_history(_pipeline()))
    more = _pipeline(versions={"v1": _linear(0.0), "v2": _linear(0.3), "v3": _linear(1.0)})
    with pytest.raises(UsageError, match="v3 has no predictions") as raised:
        compare(log, more, manifest, "v1", "v3")
    assert "stream-app backfill FILE v3" in raised.value.attempt
