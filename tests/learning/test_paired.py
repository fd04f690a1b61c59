"""Differences between versions: exact sums, and intervals that hold what they promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import metrics, utils

from stream_app.learning.blocks import Blocks
from stream_app.learning.jackknife import cut, groups_for, standard_error, students_t
from stream_app.learning.metric_sums import sums_of
from stream_app.learning.paired import MetricFigures, Paired, PairedScores
from stream_app.learning.read_back import ReadBack
from stream_app.learning.tasks import Binary, Multiclass, Regression
from stream_app.learning.tasks.classification import most_probable
from stream_app.learning.tasks.task import Said

BINARY: dict[str, Any] = {
    "ROCAUC": metrics.ROCAUC(n_thresholds=30),
    "LogLoss": metrics.LogLoss(),
    "Accuracy": metrics.Accuracy(),
    "F1": metrics.F1(),
    "MCC": metrics.MCC(),
}
RATHER_SURE = 250  # simulations: their share of hits has a standard error of about 1.4 %


def _scores(
    prototypes: dict[str, Any], n: int, chance: np.random.Generator, *, alike: float, shift: float
) -> PairedScores:
    """Two models with errors of their own that resemble their neighbours' (AR(1), `alike`)."""
    noise = chance.standard_normal((n, 2))
    for i in range(1, n):
        noise[i] = alike * noise[i - 1] + math.sqrt(1 - alike**2) * noise[i]
    scores = PairedScores(prototypes, classes=(False, True))
    scores.begin_partition()
    for i, label in enumerate(chance.random(n) < 0.4):
        signal = 1.0 if label else -1.0
        p, q = (1 / (1 + np.exp(-(signal + noise[i] + [0, shift]))) for _ in (0, 1))
        a, b = float(p[0]), float(q[1])
        scores.add(Paired(bool(label), {True: a, False: 1 - a}, {True: b, False: 1 - b}, i))
    return scores


def _holds(figures: MetricFigures, truth: float) -> bool:
    assert figures.low is not None
    assert figures.high is not None
    return figures.low <= truth <= figures.high


@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_the_interval_holds_the_true_difference_95_times_of_100(alike: float) -> None:
    """Also where errors resemble their neighbours', which an interval for coin tosses would not."""
    chance = np.random.default_rng(5)
    some = {name: BINARY[name] for name in ("ROCAUC", "LogLoss", "F1")}
    truth = {
        f.name: f.difference
        for f in _scores(some, 60_000, chance, alike=alike, shift=0.7).figures()
    }
    held = dict.fromkeys(some, 0)
    for _ in range(RATHER_SURE):
        for figures in _scores(some, 600, chance, alike=alike, shift=0.7).figures():
            held[figures.name] += _holds(figures, truth[figures.name] or 0.0)
    for name, times in held.items():
        assert 0.91 <= times / RATHER_SURE <= 0.985, name


@pytest.mark.parametrize("name", BINARY)
def test_sums_give_what_river_gives_for_any_part(name: str) -> None:
    chance = np.random.default_rng(7)
    labels = [bool(x) for x in chance.random(500) < 0.3]
    p = [float(x) for x in [*chance.random(490), *np.linspace(0, 1, 10)]]
    said: list[Said] = [{True: x, False: 1 - x} for x in p]
    sums = sums_of(BINARY[name], (False, True))
    assert sums is not None
    encoded = sums.encode(labels, said)
    parts = [slice(0, 7), slice(7, 300), slice(300, 500), slice(0, 500)]
    found = sums.values(np.array([sums.total(encoded[part]) for part in parts]))
    for part, value in zip(parts, found, strict=True):
        metric = BINARY[name].clone()
        for label, x in zip(labels[part], p[part], strict=True):
            metric.update(label, x > 0.5 if metric.requires_labels else {True: x})
        assert value == pytest.approx(metric.get(), abs=1e-12)


def test_every_metric_of_sums_is_known_and_the_others_say_why_not() -> None:
    known: list[Any] = [metrics.MAE(), metrics.RMSE(), metrics.MacroF1(), metrics.CohenKappa()]
    assert None not in [sums_of(metric) for metric in known]
    other: list[Any] = [metrics.R2(), metrics.RMSLE(), utils.Rolling(metrics.MAE, window_size=9)]
    assert [sums_of(metric) for metric in other] == [None, None, None]
    scores = PairedScores({"R2": metrics.R2()})
    scores.begin_partition()
    for i in range(100):
        scores.add(Paired(float(i), float(i) + 1, float(i) + 2, i))
    [figures] = scores.figures()
    assert (figures.low, figures.difference is None) == (None, False)
    assert "cannot be left out" in (figures.why_no_interval or "")


def test_too_many_classes_are_no_interval_and_no_wrong_one() -> None:
    scores = PairedScores({"Accuracy": metrics.Accuracy()})
    scores.begin_partition()
    for i in range(300):
        scores.add(Paired(f"c{i % 40}", f"c{i % 40}", "c0", i))
    [figures] = scores.figures()
    assert figures.a == 1.0
    assert figures.low is None
    assert figures.why_no_interval == "there are more than 24 classes"


def test_too_few_examples_have_no_interval() -> None:
    assert (groups_for(39), groups_for(40), groups_for(119), groups_for(120)) == (0, 8, 23, 24)
    scores = _scores(BINARY, 39, np.random.default_rng(1), alike=0, shift=0.5)
    assert {figures.why_no_interval for figures in scores.figures()} == {"too few events"}


def test_blocks_lose_nothing_whatever_the_number_and_the_chunks() -> None:
    for n in (1, 15, 16, 17, 1000, 4097):
        values: NDArray[Any] = np.arange(n, dtype=float)
        blocks = Blocks(1, 16)
        for begin in range(0, n, 37):
            part = values[begin : begin + 37]
            blocks.add(len(part), part, lambda s, part=part: part[s].sum(keepdims=True))  # type: ignore[misc]
        assert blocks.rows.sum() == values.sum()
        assert blocks.counts.sum() == n
        assert len(blocks.counts) >= min(n, 8)
        assert set(blocks.counts[:-1]) <= {blocks.size}
        expected = np.concatenate([[0], np.cumsum(blocks.counts)[:-1]])
        assert list(blocks.at) == list(expected)


def test_groups_are_of_about_one_size_and_leave_nothing_out() -> None:
    for blocks in (24, 25, 40, 777):
        parts = cut(np.full(blocks, 3.0), 24)
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == blocks
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert len(parts) == 24


def test_for_a_mean_it_is_the_standard_error_of_batch_means() -> None:
    values = np.random.default_rng(2).standard_normal((24, 50))
    rows = np.stack([np.full(24, 50.0), values.sum(axis=1)], axis=1)
    found = standard_error(rows, rows[:, 0], lambda sums: sums[:, 1] / sums[:, 0])
    assert found == pytest.approx(values.mean(axis=1).std(ddof=1) / math.sqrt(24), rel=1e-12)


def test_students_t_is_that_of_the_tables() -> None:
    for degrees, quantile in ((7, 2.3646), (11, 2.2010), (23, 2.0687)):
        assert students_t(degrees) == pytest.approx(quantile, abs=5e-4)


def test_partitions_are_blocks_of_one_time() -> None:
    """Two halves of a day in two partitions: what is far apart in time is never one block."""
    scores = PairedScores({"MAE": metrics.MAE()}, partitions=2)
    for _ in range(2):
        scores.begin_partition()
        for i in range(1000):
            scores.add(Paired(0.0, 1.0, 1.0 + i / 1000, i))
    spans = scores.spans(10)
    found = [b - a for span in spans for a, b in span.metrics.values() if a is not None and b]
    assert found == sorted(found)
    assert found[-1] > 0.9
    assert sum(span.examples for span in spans) == 2000


def test_published_predictions_read_back_as_they_were_said() -> None:
    binary = ReadBack(Binary("late", "on time"))
    assert binary.said("late", 0.7, None) == {True: 0.7, False: pytest.approx(0.3)}
    assert most_probable(binary.said("on time", 0.5, None)) is False
    assert most_probable(binary.said("late", 0.5, None)) is True
    assert most_probable(binary.said("late", 0.3, None)) is True
    assert binary.said("on time", None, None) is False
    assert binary.said(None, None, None) is None
    assert binary.label(True) == "late"
    classes = ReadBack(Multiclass()).said("sky", None, {"path": 0.4, "sky": 0.4})
    assert most_probable(classes) == "sky"
    assert ReadBack(Regression()).said(3.5, None, None) == 3.5
    assert ReadBack(Regression()).loss(5, 3.5) == 1.5
