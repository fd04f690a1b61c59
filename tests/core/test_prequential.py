"""Prequential evaluation: totals, windows, what is null, and folds that equal one by one."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from river import metrics

from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.events import Label, Observation
from stream_app.learning.metric_checks import named_metrics
from stream_app.learning.prequential import BUFFER_MAX, Prequential
from stream_app.learning.tasks import Binary
from stream_app.outputs import Evaluation
from stream_app.testing import Driver
from tests.core.users_models import Counting

BINARY = [
    metrics.ROCAUC(n_thresholds=100),
    metrics.ROCAUC(n_thresholds=7),
    metrics.LogLoss(),
    metrics.Accuracy(),
    metrics.F1(),
    metrics.BalancedAccuracy(),
    metrics.CohenKappa(),
    metrics.CrossEntropy(),
]
REGRESSION = [metrics.MAE(), metrics.RMSE(), metrics.R2(), metrics.MAPE(), metrics.SMAPE()]


def scored(n: int, kind: str) -> list[tuple[Any, Any]]:
    chance = random.Random(n)
    rows: list[tuple[Any, Any]] = []
    for i in range(n):
        if kind == "regression":
            rows.append((chance.gauss(3.0, 5.0), chance.gauss(3.0, 5.0)))
            continue
        p = chance.choice([chance.random(), 0.0, 1.0, 0.5, 0.25, chance.random() ** 4])
        # Some models know only the classes seen so far, in the order in which they came.
        said = [{True: p, False: 1 - p}, {False: 1 - p, True: p}, {True: 1.0}, {False: 1.0}][
            chance.choice([0, 0, 0, 1, 1, 2, 3]) if i % 2 else 0
        ]
        rows.append((chance.random() < 0.3, said))
    return rows


def one_by_one(metric: Any, rows: list[tuple[Any, Any]]) -> float:
    mine = metric.clone()
    for label, said in rows:
        if isinstance(said, dict) and mine.requires_labels:
            said = max(said, key=said.__getitem__)  # noqa: PLW2901 - as River does
        mine.update(label, said)
    return float(mine.get())


@pytest.mark.parametrize(
    "metric",
    [*BINARY, *REGRESSION],
    ids=lambda metric: f"{type(metric).__name__}{getattr(metric, 'n_thresholds', '')}",
)
def test_folding_many_at_once_is_folding_one_by_one(metric: Any) -> None:
    kind = "regression" if metric in REGRESSION else "binary"
    rows = scored(400, kind)
    report = Prequential({"m": metric})
    start = 0
    for i, (label, said) in enumerate(rows):
        report.score(label, said, 1)
        if i in (30, 150, 190, 390):
            total, window = report.values()["m"]
            assert total == one_by_one(metric, rows[: i + 1])
            assert window == one_by_one(metric, rows[start : i + 1])
            report = Prequential.of(report.state())
            if i != 190:
                report.start_window()
                start = i + 1


def test_a_buffer_that_fills_is_folded_by_itself() -> None:
    rows = scored(BUFFER_MAX + 7, "binary")
    report = Prequential({"m": metrics.LogLoss()})
    for label, said in rows:
        report.score(label, said, 1)
    assert report.values()["m"] == (one_by_one(metrics.LogLoss(), rows),) * 2


def test_a_metric_is_null_while_nothing_was_scored_and_an_auc_until_two_classes_were() -> None:
    report = Prequential({"auc": metrics.ROCAUC(), "loss": metrics.LogLoss()})
    report.score(True, {}, 1)
    report.score(True, None, 1)
    assert (report.scored, report.unscored, report.window_examples) == (0, 2, 2)
    assert report.values() == {"auc": (None, None), "loss": (None, None)}
    report.score(True, {True: 0.5, False: 0.5}, 1)
    assert report.values()["auc"] == (None, None)
    assert None not in report.values()["loss"]
    report.score(False, {True: 0.5, False: 0.5}, 1)
    assert None not in report.values()["auc"]
    report.start_window()
    report.score(False, {True: 0.5, False: 0.5}, 1)
    total, window = report.values()["auc"]
    assert total is not None
    assert window is None


def test_the_delays_of_a_window_are_told_by_nearest_rank() -> None:
    report = Prequential({})
    assert report.delay_quantiles() is None
    for i in range(100, 0, -1):
        report.score(True, {True: 1.0} if i % 2 else None, i)
    assert report.delay_quantiles() == (50, 95)
    report.start_window()
    assert report.delay_quantiles() is None


def test_metrics_are_named_by_class_or_as_declared() -> None:
    task = Binary()
    assert list(named_metrics(None, task)) == ["ROCAUC", "LogLoss"]
    assert list(named_metrics(metrics.Accuracy(), task)) == ["Accuracy"]
    both = {"fine": metrics.ROCAUC(n_thresholds=100), "coarse": metrics.ROCAUC()}
    assert list(named_metrics(both, task)) == ["fine", "coarse"]


def test_an_evaluation_comes_every_declared_interval_and_covers_it() -> None:
    pipeline = Pipeline(
        "p",
        task=Binary(),
        labels=Labels(wait=timedelta(days=1)),
        metrics={"loss": metrics.LogLoss()},
        versions={"v1": Version(Counting())},
        evaluate_every=4,
    )
    with Driver(pipeline) as driver:
        for i in range(10):
            bad: dict[str, Any] = {"bad": "predict"} if i == 5 else {}
            driver.send(Observation(f"o{i}", i, bad), Label(f"o{i}", i, True))
        figures = [o for o in driver.outputs("evaluations") if isinstance(o, Evaluation)]
        assert [f.learned for f in figures] == [4, 8]
        assert [(f.scored, f.unscored, f.window) for f in figures] == [(4, 0, 4), (7, 1, 4)]
        assert [f.source.offset for f in figures] == [7, 15]
        assert figures[1].id == "p/v1/0@15/evaluation"
        assert figures[0].metrics["loss"].total == figures[0].metrics["loss"].window
        assert figures[1].metrics["loss"].total != figures[1].metrics["loss"].window


def test_a_window_that_nobody_asks_for_leaves_the_totals_as_one_that_is_published() -> None:
    """MacroF1 makes entries as it is asked; their order decides the last bits of later figures."""
    asked, silent = (Prequential({"MacroF1": metrics.MacroF1()}) for _ in range(2))
    for report in (asked, silent):
        report.score("a", "b", 0)
        if report is asked:
            report.values()
        report.start_window()
        report.score("c", "c", 0)
        report.score("b", "a", 0)
        report.flush()
    rows = [list(report.totals["MacroF1"].cm.sum_row) for report in (asked, silent)]
    assert rows[0] == rows[1]
