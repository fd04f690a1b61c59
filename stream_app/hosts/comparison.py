"""What came of a comparison, and the sentence that says it."""

from __future__ import annotations

import msgspec

from stream_app.counted import counted
from stream_app.learning.paired import MetricFigures, Span


class PartitionRange(msgspec.Struct, frozen=True):
    """Which events of a partition were compared: offsets from `begin` to `end`, left out."""

    partition: int
    begin: int
    end: int


class Counted(msgspec.Struct):
    """What became of the predictions in the range; `a` and `b` are the two versions."""

    compared: int = 0
    only_a: int = 0
    only_b: int = 0
    unlabelled: int = 0
    unscored_a: int = 0
    unscored_b: int = 0


class SliceFigures(msgspec.Struct, frozen=True):
    """The metrics over one part of the events."""

    value: str
    examples: int
    metrics: list[MetricFigures]


class Disagreement(msgspec.Struct, frozen=True):
    """An event at which one version was much worse: what both said, and the truth."""

    position: str
    observation_id: str
    key: str
    ts_ms: int
    label: object
    prediction_a: object
    prediction_b: object
    probability_a: float | None
    probability_b: float | None
    loss_a: float
    loss_b: float


class Comparison(msgspec.Struct, frozen=True):
    """Two versions on the same labelled events; differences are b - a."""

    pipeline: str
    broker: str
    a: str
    b: str
    verdict: str
    partitions: list[PartitionRange]
    counted: Counted
    metrics: list[MetricFigures]
    spans: list[Span]
    by: str | None
    slices: list[SliceFigures]
    loss: str
    disagreements: list[Disagreement]
    notes: list[str]


def better_by(figures: MetricFigures) -> tuple[float, float, float] | None:
    """Return by how much b is better (negative: worse), and the interval; None without one."""
    if figures.difference is None or figures.low is None or figures.high is None:
        return None
    if figures.bigger_is_better:
        return figures.difference, figures.low, figures.high
    return -figures.difference, -figures.high, -figures.low


def better_version(figures: MetricFigures, a: str, b: str) -> str | None:
    """Return the version that the interval says is better; None when it has zero in it."""
    found = better_by(figures)
    if found is None or found[1] <= 0 <= found[2]:
        return None
    return b if found[0] > 0 else a


def verdict(figures: MetricFigures, a: str, b: str, examples: int) -> str:
    """Say in one sentence what a metric shows."""
    on = f"on {counted(examples, 'labelled event')}"
    found = better_by(figures)
    if found is None:
        why = figures.why_no_interval or "no interval"
        if figures.difference is None:
            return f"{figures.name} has no value {on}"
        return (
            f"{figures.name} differs by {shown(figures.difference, signed=True)} ({b} less {a}) "
            f"{on}; how sure that is cannot be said: {why}"
        )
    winner = better_version(figures, a, b)
    if winner is None:
        _, low, high = found
        return (
            f"no difference that these events can show: {b} less {a} lies between "
            f"{shown(figures.low, signed=True)} and {shown(figures.high, signed=True)} "
            f"{figures.name} {on}"
        )
    amount, low, high = found if winner == b else (-found[0], -found[2], -found[1])
    return (
        f"{winner} is better by {shown(amount)} {figures.name} (95 % interval {shown(low)} to "
        f"{shown(high)}) {on}"
    )


def shown(value: float | None, *, signed: bool = False) -> str:
    """Write a figure with the digits that a person reads."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if value == 0:
        return f"{value:{sign}.4f}"
    size = abs(value)
    return f"{value:{sign}.4f}" if 5e-5 <= size < 100 else f"{value:{sign}.4g}"
