"""What `unrolled` writes as a program, as loops for a compiler: numbers that are no objects.

It is told that numbers are floats, which it may only believe of exact floats and integers: what
comes with any other is left to River's objects. Variances begin above zero or at it, so they stay
there and have real roots.
"""

from __future__ import annotations

from math import pow as power
from typing import Any

from stream_app.learning.linear_calls import Linear


class Figures:
    """A feature's figures, and what they will be once the example at hand is learned."""

    def __init__(self, name: Any, count: int, mean: float, variance: float, weight: float) -> None:
        self.name: Any = name
        self.count: int = count
        self.mean: float = mean
        self.variance: float = variance
        self.root: float = power(variance, 0.5)
        self.weight: float = weight
        self.next_mean: float = 0.0
        self.next_variance: float = 0.0
        self.next_root: float = 0.0
        self.scaled: float = 0.0


def _fits(row: Figures, name: Any, value: Any) -> bool:
    """Tell whether a feature is the row's, and its value an exact float or integer."""
    named = name is row.name or name == row.name
    return bool(named) and (type(value) is float or type(value) is int)


class FloatFigures:
    """The calls of a scaler and a linear model as one, see `steady_calls.Fused`."""

    def __init__(
        self,
        names: tuple[Any, ...],
        linear: Linear,
        iterations: int,
        intercept: float,
        rows: list[Any],
    ) -> None:
        self._linear = linear
        self._rate: float = float(linear.rate)
        self._intercept_rate: float = float(linear.intercept_rate)
        self._iterations: int = iterations
        self._intercept: float = intercept
        self._rows = [Figures(name, *row) for name, row in zip(names, rows, strict=True)]

    def raw(self, x: Any) -> Any:
        """Return the weighted sum of scaled features, or None where River has to be asked."""
        rows = self._rows
        if type(x) is not dict or len(x) != len(rows):
            return None
        features: dict[Any, Any] = x
        total: float = 0.0
        for at, (name, value) in enumerate(features.items()):
            row = rows[at]
            if not _fits(row, name, value):
                return None
            scaled = 0.0
            if row.variance != 0.0:  # or nobody looks at the value, which may be beyond all floats
                one: float = value if type(value) is float else float(value)
                scaled = (one - row.mean) / row.root
            total += row.weight * scaled
        return total + self._intercept

    def advance(self, x: Any, y: Any) -> Any:
        """Learn an example and return True, or None where River has to do it."""
        rows = self._rows
        if type(x) is not dict or len(x) != len(rows):
            return None
        features: dict[Any, Any] = x
        total: float = 0.0
        for at, (name, value) in enumerate(features.items()):
            row = rows[at]
            if not _fits(row, name, value):
                return None
            one: float = value if type(value) is float else float(value)
            count = float(row.count + 1)
            before = one - row.mean
            mean = row.mean + before / count
            after = one - mean
            variance = row.variance + (before * after - row.variance) / count
            row.next_mean = mean
            row.next_variance = variance
            row.next_root = power(variance, 0.5)
            row.scaled = after / row.next_root if variance != 0.0 else 0.0
            total += row.weight * row.scaled
        self._move(self._linear.slope(total + self._intercept, y))
        return True

    def _move(self, slope: float) -> None:
        """Make of every figure what the example at hand makes of it."""
        self._intercept -= self._intercept_rate * slope
        self._iterations += 1
        rate = self._rate
        for row in self._rows:
            row.count += 1
            row.mean = row.next_mean
            row.variance = row.next_variance
            row.root = row.next_root
            row.weight -= row.scaled * slope * rate

    def figures(self) -> tuple[Any, ...]:
        """Return iterations, intercept, and the figures of each feature in turn."""
        rows = [(row.count, row.mean, row.variance, row.weight) for row in self._rows]
        return self._iterations, self._intercept, rows
