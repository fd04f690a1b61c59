"""Fold many scored examples into a metric at once, with the result that one by one would give.

River's ROCAUC updates one confusion matrix per threshold and example, 46 µs with 100 thresholds.
Its matrices only count, so counting first and adding the counts is exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import log
from typing import Any, Final

from river import metrics, stats

from stream_app.learning.tasks.classification import most_probable

# Within what River's logarithmic loss takes probabilities as they are.
_UNSURE: Final = 1e-15
_SURE: Final = 1 - 1e-15
Scored = tuple[Any, Any, int]  # label, what the model said, label delay in ms


def fold(totals: Any, window: Any, scored: Sequence[Scored]) -> None:
    """Update two metrics of one kind with the same examples, in order."""
    if type(totals) is metrics.ROCAUC:
        _fold_roc_auc(totals, scored)
        _fold_roc_auc(window, scored)
        return
    if _is_plain_mean(totals):
        if type(totals) is metrics.LogLoss:
            values = _log_losses(totals, scored)
        else:
            evaluate = totals._eval
            values = [evaluate(label, said) for label, said, _ in scored]
        _fold_mean(totals._mean, values)
        _fold_mean(window._mean, values)
        return
    if isinstance(totals, metrics.base.ClassificationMetric) and totals.requires_labels:
        scored = [
            (label, most_probable(said) if type(said) is dict else said, delay)
            for label, said, delay in scored
        ]
    for metric in (totals, window):
        update = metric.update
        for label, said, _ in scored:
            update(label, said)


def _log_losses(metric: metrics.LogLoss, scored: Sequence[Scored]) -> list[float]:
    """Return the loss of each; what River would clamp, or is no usual answer, it gets itself."""
    values = []
    for label, said, _ in scored:
        p = said.get(True, 0.0) if type(said) is dict else said
        if type(p) is float and _UNSURE < p < _SURE and type(label) is bool:
            values.append(-log(p) if label else -log(1 - p))
        else:
            values.append(metric._eval(label, said))
    return values


def _is_plain_mean(metric: Any) -> bool:
    mean = metrics.base.MeanMetric
    return (
        isinstance(metric, mean)
        and type(metric).update is mean.update
        and type(metric._mean) is stats.Mean
    )


def _fold_mean(mean: Any, values: Sequence[float]) -> None:
    """Update a running mean with many values: River's formula, without its calls."""
    n, current = mean.n, mean._mean
    for value in values:
        n += 1.0
        current += (1.0 / n) * (value - current)
    mean.n, mean._mean = n, current


def _fold_roc_auc(metric: metrics.ROCAUC, scored: Sequence[Scored]) -> None:
    thresholds, positive = metric.thresholds, metric.pos_val
    # counts[label][i]: examples whose probability lies above exactly i thresholds
    counts = {True: [0] * (len(thresholds) + 1), False: [0] * (len(thresholds) + 1)}
    for label, said, _ in scored:
        p_true = said.get(True, 0.0) if type(said) is dict else said
        counts[label == positive][bisect_left(thresholds, p_true)] += 1
    for label, column in counts.items():
        total = sum(column)
        below = list(accumulate(column))
        for i, matrix in enumerate(metric.cms):
            _add(matrix, label, False, below[i])
            _add(matrix, label, True, total - below[i])


def _add(matrix: Any, label: bool, said: bool, count: int) -> None:
    if count:
        matrix.update(label, said, float(count))
        matrix.n_samples += count - 1
