"""Prequential evaluation: every example is tested before it is learned from.

Scored examples wait in a list and are folded into the metrics when somebody asks, which keeps
metrics off the path of the event; when that happens never changes a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from river import metrics

from stream_app.learning.metric_folds import Scored, fold

BUFFER_MAX: Final = 10_000


class Prequential:
    """A version's metrics, in total and over the window since the previous evaluation.

    `prototypes` maps names to untouched River metrics. One that cannot score an example (the
    logarithm of a negative number, a square beyond all floats) is None from there on: a figure
    over some of the examples would be wrong, and a figure must not stop the models.
    """

    def __init__(self, prototypes: Mapping[str, Any]) -> None:
        self._prototypes = {name: metric.clone() for name, metric in prototypes.items()}
        self.totals: dict[str, Any] = {name: metric.clone() for name, metric in prototypes.items()}
        self.scored = 0
        self.unscored = 0
        self._classes: set[Any] = set()
        self._buffer: list[Scored] = []
        self._empty_window()

    def start_window(self) -> None:
        """Forget the window: the next one starts with the next example.

        Asks for the figures although nobody may read them, as when records are learned again:
        some metrics (MacroF1) write an entry for a class when they are asked, and the order of
        entries decides last bits later.
        """
        self.values()
        self._empty_window()

    def _empty_window(self) -> None:
        self._window = {name: metric.clone() for name, metric in self._prototypes.items()}
        self._window_classes: set[Any] = set()
        self.window_examples = 0
        self._window_scored = 0
        self._delays: list[int] = []

    def score(self, label: Any, said: Any, delay_ms: int) -> None:
        """Score one prediction; `said` None or {} counts as unscored."""
        self.window_examples += 1
        if said is None or said == {}:
            self.unscored += 1
            self._delays.append(delay_ms)
            return
        self.scored += 1
        self._buffer.append((label, said, delay_ms))
        if len(self._buffer) >= BUFFER_MAX:
            self.flush()

    def flush(self) -> None:
        """Fold what waits into the metrics."""
        buffer = self._buffer
        if not buffer:
            return
        self._window_scored += len(buffer)
        for name, total in self.totals.items():
            if total is None:
                continue
            try:
                fold(total, self._window[name], buffer)
            except (ArithmeticError, ValueError):
                self.totals[name] = None
        for classes in (self._classes, self._window_classes):
            if len(classes) < 2:
                classes.update(label for label, _, _ in buffer)
        self._delays.extend(delay for _, _, delay in buffer)
        self._buffer = []

    def values(self) -> dict[str, tuple[float | None, float | None]]:
        """Return (total, window) of every metric; None where it has no value."""
        self.flush()
        return {
            name: (
                _value(total, self.scored, self._classes),
                None
                if total is None
                else _value(self._window[name], self._window_scored, self._window_classes),
            )
            for name, total in self.totals.items()
        }

    def delay_quantiles(self) -> tuple[int, int] | None:
        """Return (p50, p95) of the label delays in the window, in ms (nearest rank)."""
        self.flush()
        delays = sorted(self._delays)
        if not delays:
            return None
        return delays[(len(delays) - 1) // 2], delays[math.ceil(len(delays) * 0.95) - 1]

    def state(self) -> list[object]:
        """Return the state, flushed, as plain values and River's metrics."""
        self.flush()
        return [
            self._prototypes,
            self.totals,
            self.scored,
            self.unscored,
            sorted(self._classes, key=repr),
            self._window,
            sorted(self._window_classes, key=repr),
            self.window_examples,
            self._window_scored,
            self._delays,
        ]

    @classmethod
    def of(cls, state: list[Any]) -> Prequential:
        """Return the evaluation with that state."""
        self = cls(state[0])
        self.totals, self.scored, self.unscored = state[1:4]
        self._classes, self._window = set(state[4]), state[5]
        self._window_classes, self.window_examples = set(state[6]), state[7]
        self._window_scored, self._delays = state[8:]
        return self


def _value(metric: Any, scored: int, classes: set[Any]) -> float | None:
    if not scored or metric is None:
        return None
    if isinstance(metric, metrics.ROCAUC | metrics.RollingROCAUC) and len(classes) < 2:
        return None
    try:
        value = float(metric.get())
    except (ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None
