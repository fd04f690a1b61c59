"""A scaler and a linear model as one: for features that come with every event, in the same order.

Their figures stand in one place while the model is in use, so that no mapping is made between the
two models and nothing is looked up. The arithmetic and its order are River's. Where anything else
comes, River's objects get their figures back and are called as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from stream_app.compiled import COMPILED
from stream_app.learning.float_figures import FloatFigures
from stream_app.learning.linear_calls import Linear
from stream_app.learning.unrolled import Unrolled

# How often the same features have to come one after the other before they are worth it.
STEADY: Final = 8
# What is written for their number grows with it; a processor would not have it at hand.
FEATURES_MAX: Final = 64
# Python does best with a program without a loop, a compiler with numbers that are no objects.
_FUSED: Final[Any] = FloatFigures if COMPILED else Unrolled


class Stepwise(Protocol):
    """The calls of the two models one after the other, on River's objects once they are settled."""

    def predict(self, x: Any) -> Any:
        """Return what the model says of features."""
        ...

    def learn(self, x: Any, y: Any) -> None:
        """Learn one example."""
        ...

    def settle(self) -> None:
        """Give back what was learned to River's objects."""
        ...


class Fused(Protocol):
    """The calls on figures, of each feature: count, mean, variance, and weight."""

    def raw(self, x: Any, /) -> Any:
        """Return the weighted sum of scaled features; None where River has to be asked."""
        ...

    def advance(self, x: Any, y: Any, /) -> Any:
        """Learn an example and return True; None where River has to, and nothing has changed."""
        ...

    def figures(self) -> tuple[Any, ...]:
        """Return iterations, intercept, and the figures of each feature in turn."""
        ...


class SteadyCalls:
    """The calls of a pipeline of a scaler and a linear model, with `stepwise` for what is rare."""

    __slots__ = (
        "_advance",
        "_fused",
        "_linear",
        "_make",
        "_names",
        "_raw",
        "_said",
        "_scaler",
        "_steady",
        "_stepwise",
        "_written",
    )

    def __init__(
        self, scaler: Any, linear: Linear, stepwise: Stepwise, make: Callable[..., Fused] = _FUSED
    ) -> None:
        self._scaler = scaler
        self._linear = linear
        self._said = linear.said
        self._stepwise = stepwise
        self._make = make
        self._names: tuple[Any, ...] = ()
        self._steady = 0
        self._written = -1
        self._use(None)

    def _use(self, fused: Fused | None) -> None:
        self._fused = fused
        self._raw: Callable[[Any], Any] = _none if fused is None else fused.raw
        self._advance: Callable[[Any, Any], Any] = _none if fused is None else fused.advance

    @property
    def begun(self) -> bool:
        """Whether the figures are here; for reading."""
        return self._fused is not None

    def predict(self, x: Any) -> Any:
        """Return what the model says of features."""
        raw = self._raw(x)
        if raw is None:
            self._leave()
            return self._stepwise.predict(x)
        return self._said(raw)

    def learn(self, x: Any, y: Any) -> None:
        """Learn one example."""
        if self._advance(x, y) is None:
            self._leave()
            self._stepwise.learn(x, y)
            self._notice(tuple(x))

    def _notice(self, names: tuple[Any, ...]) -> None:
        """Count how often features came; begin once they are steady."""
        if names != self._names:
            self._names, self._steady = names, 0
        self._steady += 1
        if self._steady == STEADY and 0 < len(names) <= FEATURES_MAX:
            self._stepwise.settle()
            self._begin(names)

    def _begin(self, names: tuple[Any, ...]) -> None:
        """Take the figures from River's objects, if they are such as River itself makes."""
        scaler, linear, model = self._scaler, self._linear, self._linear.model
        columns = (scaler.counts, scaler.means, scaler.vars, model._weights)
        rows = [tuple(column.get(name) for column in columns) for name in names]
        iterations, intercept = model.optimizer.n_iterations, model.intercept
        whole = {type(iterations), *(type(row[0]) for row in rows)}
        floats = {type(intercept), *(type(figure) for row in rows for figure in row[1:])}
        rates = {type(linear.rate), type(linear.intercept_rate)}
        fits = whole == {int} and floats == {float} and rates <= {float, int}
        if fits and all(row[2] >= 0.0 for row in rows):
            self._written = iterations
            self._use(self._make(names, linear, iterations, intercept, rows))

    def _leave(self) -> None:
        """Go on with River's objects."""
        if self._fused is not None:
            self.settle()
            self._use(None)
            self._steady = 0

    def settle(self) -> None:
        """Give back what was learned to River's objects; what is here stays good."""
        if self._fused is None:
            self._stepwise.settle()
            return
        iterations, intercept, rows = self._fused.figures()
        if iterations == self._written:
            return
        scaler, model = self._scaler, self._linear.model
        counts, means, variances, weights = scaler.counts, scaler.means, scaler.vars, model._weights
        for name, (count, mean, variance, weight) in zip(self._names, rows, strict=True):
            counts[name], means[name], variances[name], weights[name] = (
                count,
                mean,
                variance,
                weight,
            )
        model.intercept, model.optimizer.n_iterations = intercept, iterations
        self._written = iterations


def _none(*_: Any) -> None:
    """Know nothing: there are no figures here."""
