"""Models whose bits are the same on every CPU: they only add, subtract, multiply and divide.

IEEE 754 fixes the results of these four to the last bit. What River's models use beside them
(exponentials, logarithms, compiled vectors) is rounded by the C library and the CPU's units.
"""

from __future__ import annotations

from typing import Any

from river import base


class Slope(base.Regressor):
    """A line through the origin for each feature, moved a little by every example."""

    def __init__(self, rate: float = 0.125) -> None:
        self.rate = rate
        self.slopes: dict[str, float] = {}

    def predict_one(self, x: dict[Any, Any]) -> float:
        return sum_of(self.slopes.get(name, 0.0) * value for name, value in x.items())

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        if x.get("broken"):
            raise ValueError("a broken example")
        step = self.rate * (y - self.predict_one(x))
        for name, value in x.items():
            self.slopes[name] = self.slopes.get(name, 0.0) + step * value / (1.0 + value * value)


class Share(base.Classifier):
    """How often the class came so far when the first feature was positive, and when it was not."""

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = {}

    def _side(self, x: dict[Any, Any]) -> str:
        first = next(iter(x.values()), 0.0)
        return "up" if not isinstance(first, str) and first > 0 else "down"

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        if x.get("broken"):
            raise ValueError("a broken observation")
        counts = self.counts.get(self._side(x))
        if counts is None:
            return {}
        positive = (counts[0] + 1.0) / (counts[0] + counts[1] + 2.0)
        return {False: 1.0 - positive, True: positive}

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        counts = self.counts.setdefault(self._side(x), [0.0, 0.0])
        counts[0 if y else 1] += 1.0


def sum_of(values: Any) -> float:
    """Add from left to right: newer Pythons' own sum is more exact, and so another."""
    total = 0.0
    for value in values:
        total += value
    return total
