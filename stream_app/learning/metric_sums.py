"""What a metric is made of, as sums: so that it can be had for any part of the examples.

A metric whose examples can be counted or added up first is computed for blocks, and for all but
one of them, without looking at an example twice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import metrics, stats

from stream_app.events import LabelValue
from stream_app.learning.tasks.classification import most_probable
from stream_app.learning.tasks.task import Said

CLASSES_MAX: Final = 24
Floats = NDArray[np.float64]


class MetricSums:
    """One metric by its sums; `width` numbers stand for any set of examples.

    `encode` looks at examples once, `total` adds some of what it returned, `values` gives the
    metric for each row of sums, NaN where it has none.
    """

    width: int

    @abstractmethod
    def encode(self, labels: Sequence[LabelValue], said: Sequence[Said]) -> NDArray[Any]:
        """Return one number for each example."""

    @abstractmethod
    def total(self, encoded: NDArray[Any]) -> Floats:
        """Return the sums over encoded examples."""

    @abstractmethod
    def values(self, sums: Floats) -> Floats:
        """Return the metric of each row of `sums`."""

    @property
    def problem(self) -> str | None:
        """Why the sums are of no use after all."""
        return None


class MeanSums(MetricSums):
    """A plain mean of losses, or what River makes of that mean (RMSE)."""

    width = 2

    def __init__(self, metric: Any) -> None:
        self._metric = metric.clone()

    def encode(self, labels: Sequence[LabelValue], said: Sequence[Said]) -> NDArray[Any]:
        """Return each example's loss."""
        evaluate = self._metric._eval
        return np.array([evaluate(*pair) for pair in zip(labels, said, strict=True)], np.float64)

    def total(self, encoded: NDArray[Any]) -> Floats:
        """Return how many, and their sum."""
        return np.array([len(encoded), encoded.sum()])

    def values(self, sums: Floats) -> Floats:
        """Let River make its figure of each mean."""
        return np.array([self._value(n, total) for n, total in sums])

    def _value(self, n: float, total: float) -> float:
        if not n:
            return np.nan
        self._metric._mean.n, self._metric._mean._mean = n, total / n
        return float(self._metric.get())


class RocAucSums(MetricSums):
    """River's ROCAUC: how many examples of each label lie between which thresholds."""

    def __init__(self, metric: metrics.ROCAUC) -> None:
        self._thresholds = np.array(metric.thresholds)
        self._positive = metric.pos_val
        self._steps = len(metric.thresholds) + 1
        self.width = 2 * self._steps

    def encode(self, labels: Sequence[LabelValue], said: Sequence[Said]) -> NDArray[Any]:
        """Return each example's cell."""
        p = np.array([s.get(True, 0.0) if isinstance(s, dict) else s for s in said], np.float64)
        positive = np.array([label == self._positive for label in labels], np.int64)
        # As many thresholds lie below a probability as `p > t` is true for.
        return np.searchsorted(self._thresholds, p, side="left") + positive * self._steps

    def total(self, encoded: NDArray[Any]) -> Floats:
        """Return how many examples are in each cell."""
        return np.bincount(encoded, minlength=self.width).astype(np.float64)

    def values(self, sums: Floats) -> Floats:
        """Return the area below each curve."""
        false, true = sums[:, : self._steps], sums[:, self._steps :]
        rates = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for counts in (false, true):
                whole = counts.sum(axis=1, keepdims=True)
                rates.append(1.0 - np.cumsum(counts, axis=1)[:, :-1] / whole)
        fpr, tpr = rates
        heights = (tpr[:, 1:] + tpr[:, :-1]) / 2
        area: Floats = ((fpr[:, :-1] - fpr[:, 1:]) * heights).sum(axis=1)
        return area


class ConfusionSums(MetricSums):
    """A metric of the confusion matrix: how often which class was said of which."""

    width = CLASSES_MAX**2

    def __init__(self, metric: Any, classes: Sequence[LabelValue] = ()) -> None:
        self._metric = metric
        self._classes: dict[object, int] = {name: i for i, name in enumerate(classes)}
        if classes:
            self.width = len(classes) ** 2
        self._bound = len(classes) or CLASSES_MAX

    def encode(self, labels: Sequence[LabelValue], said: Sequence[Said]) -> NDArray[Any]:
        """Return each example's cell."""
        known, bound = self._classes, self._bound
        cells = []
        for label, answer in zip(labels, said, strict=True):
            row = known.setdefault(label, len(known))
            column = known.setdefault(most_probable(answer), len(known))
            cells.append(row * bound + column if row < bound and column < bound else 0)
        return np.array(cells, np.int64)

    @property
    def problem(self) -> str | None:
        """Say when there were too many classes."""
        if len(self._classes) > self._bound:
            return f"there are more than {self._bound} classes"
        return None

    def total(self, encoded: NDArray[Any]) -> Floats:
        """Return how many examples are in each cell."""
        return np.bincount(encoded, minlength=self.width).astype(np.float64)

    def values(self, sums: Floats) -> Floats:
        """Let River make its figure of each matrix."""
        return np.array([self._value(row) for row in sums])

    def _value(self, row: Floats) -> float:
        if not row.any():
            return np.nan
        metric, names = self._metric.clone(), list(self._classes)
        for cell in np.flatnonzero(row):
            count = float(row[cell])
            metric.update(names[cell // self._bound], names[cell % self._bound], count)
            metric.cm.n_samples += int(count) - 1
        try:
            return float(metric.get())
        except (ArithmeticError, ValueError):
            return np.nan


def sums_of(metric: Any, classes: Sequence[LabelValue] = ()) -> MetricSums | None:
    """Return a metric by its sums; None where it is not made of sums.

    `classes` are all that there can be; without them up to 24 are told apart.
    """
    if type(metric) is metrics.ROCAUC:
        return RocAucSums(metric)
    mean = metrics.base.MeanMetric
    if isinstance(metric, mean):
        plain = type(metric).update is mean.update and type(metric._mean) is stats.Mean
        return MeanSums(metric) if plain else None
    if isinstance(metric, metrics.base.ClassificationMetric) and _counts_only(metric):
        return ConfusionSums(metric, classes)
    return None


def _counts_only(metric: Any) -> bool:
    """Whether a metric is River's, and of its confusion matrix alone."""
    updates = (
        metrics.base.ClassificationMetric.update,
        metrics.base.BinaryMetric.update,
    )
    return (
        type(metric).__module__.startswith("river.")
        and type(metric).update in updates
        and type(getattr(metric, "cm", None)) is metrics.ConfusionMatrix
        and metric.requires_labels
    )
