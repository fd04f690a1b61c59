"""A scaler and a linear model as functions without a loop, written for a number of features.

Every figure of a feature has a name of its own there, so that nothing is looked up and nothing is
called but the slope of the loss. Nothing changes before it is known that River would make floats
of it, and what raises does so as River's own arithmetic does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from stream_app.learning.linear_calls import Linear

PROGRAMS_MAX: Final = 64


class Unrolled:
    """The calls of a scaler and a linear model as one, see `steady_calls.Fused`."""

    __slots__ = ("advance", "figures", "raw")

    def __init__(
        self,
        names: tuple[Any, ...],
        linear: Linear,
        iterations: int,
        intercept: float,
        rows: list[Any],
    ) -> None:
        rates = (linear.rate, linear.intercept_rate)
        figures = [(count, m, v, v**0.5, weight) for count, m, v, weight in rows]
        made = _program(len(names))(
            names, linear.slope, *rates, iterations, intercept, *chain(*figures)
        )
        self.raw: Callable[[Any], Any] = made[0]
        self.advance: Callable[[Any, Any], Any] = made[1]
        self.figures: Callable[[], tuple[Any, ...]] = made[2]


@lru_cache(maxsize=PROGRAMS_MAX)
def _program(features: int) -> Callable[..., tuple[Any, Any, Any]]:
    """Return what makes the three functions for so many features, of their first figures."""
    given: dict[str, Any] = {}
    exec(_source(features), given)  # noqa: S102 - made of nothing but a number
    return given["make"]  # type: ignore[no-any-return]


def _source(features: int) -> str:
    """Return the text; of a feature: n its count, m mean, v variance, r the root, w weight."""
    numbers = range(features)
    cells = ", ".join(f"n{i}, m{i}, v{i}, r{i}, w{i}" for i in numbers)
    rows = "".join(f"(n{i}, m{i}, v{i}, w{i}), " for i in numbers)
    taken = f"({', '.join(f'x{i}' for i in numbers)},) = x.values()"
    scaled = [f"w{i} * ((x{i} - m{i}) / r{i} if v{i} else 0.0)" for i in numbers]
    learned = [
        f"""
        a{i} = n{i} + 1
        before = x{i} - m{i}
        b{i} = m{i} + before / a{i}
        after = x{i} - b{i}
        c{i} = v{i} + (before * after - v{i}) / a{i}
        d{i} = c{i} ** 0.5
        z{i} = after / d{i} if c{i} else 0.0"""
        for i in numbers
    ]
    kept = [
        f"""
        n{i} = a{i}; m{i} = b{i}; v{i} = c{i}; r{i} = d{i}; w{i} -= z{i} * slope * rate"""
        for i in numbers
    ]
    return f"""
def make(names, slope_of, rate, intercept_rate, iterations, intercept, {cells}):
    def raw(x):
        if tuple(x) != names:
            return None
        {taken}
        total = 0.0 + {" + ".join(scaled)} + intercept
        return total if type(total) is float else None

    def advance(x, y):
        nonlocal iterations, intercept, {cells}
        if tuple(x) != names:
            return None
        {taken}{"".join(learned)}
        total = 0.0 + {" + ".join(f"w{i} * z{i}" for i in numbers)} + intercept
        if type(total) is not float:
            return None
        slope = slope_of(total, y)
        intercept -= intercept_rate * slope
        iterations += 1{"".join(kept)}
        return True

    def figures():
        return iterations, intercept, ({rows})

    return raw, advance, figures
"""
