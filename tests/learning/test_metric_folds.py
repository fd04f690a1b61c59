"""Metrics that are folded many examples at a time have the bits of one at a time."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest
from river import metrics

from stream_app.learning.metric_folds import fold

CERTAIN = [0.0, 1.0, 1e-15, 1 - 1e-15, 1e-16, 1 - 1e-16, 5e-324, -0.5, 1.5, float("nan")]
ODD = [*CERTAIN, float("inf"), 0, 1, True, np.float64(0.25), np.float64(0.0)]


def bits(metric: Any) -> bytes:
    return struct.pack("<dd", metric._mean.n, metric._mean._mean)


def folded(scored: list[tuple[Any, Any, int]]) -> tuple[bytes, bytes]:
    """Return a total's bits, by River's own updates and folded."""
    own, total, window = metrics.LogLoss(), metrics.LogLoss(), metrics.LogLoss()
    for label, said, _ in scored:
        own.update(label, said)
    fold(total, window, scored)
    assert bits(total) == bits(window)
    return bits(own), bits(total)


def test_logarithmic_losses_are_rivers() -> None:
    rng = random.Random(3)
    scored: list[tuple[Any, Any, int]] = []
    for _ in range(2000):
        p = rng.random() ** rng.choice([1, 20])
        scored.append((rng.random() < 0.5, {False: 1.0 - p, True: p}, 0))
    assert len({*folded(scored)}) == 1


@pytest.mark.parametrize("p", ODD, ids=str)
@pytest.mark.parametrize("label", [True, False, 1, 0])
def test_what_is_certain_or_odd_is_left_to_river(label: Any, p: Any) -> None:
    for said in ({True: p}, {False: 1.0 - p, True: p}, p, {False: 1.0}):
        assert len({*folded([(label, said, 0)])}) == 1


def test_what_river_cannot_score_raises_as_there() -> None:
    with pytest.raises(TypeError, match="not supported between"):
        fold(metrics.LogLoss(), metrics.LogLoss(), [(True, {True: "word"}, 0)])
