"""The calls of a model, with less on the way: bit for bit what River's own methods do.

River decides at every call what cannot change between two of them: which steps a pipeline has and
of what kind, whether a scaler has a window, which penalties a linear model knows. Here that is
decided once, when a model is loaded. The arithmetic, its order, and the entries that a call makes
are River's, on the very objects that River's methods would change, or on rows that go back there
by `settle`; everything that is not known here to the letter is called as River calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from river import base, compose, preprocessing

from stream_app.learning.linear_calls import Linear, linear_calls
from stream_app.learning.scaling import PlainScaler, RowScaler
from stream_app.learning.steady_calls import SteadyCalls

# A transformer may hand on whatever mapping it likes.
Predict = Callable[[Any], Any]
Learn = Callable[[Any, Any], object]
Transform = Callable[[Any], Any]


class Step(NamedTuple):
    """What transforms features, and what learns from them before; see `Calls` for `settle`."""

    transform: Transform
    advance: Transform
    settle: Callable[[], None]


class Calls(NamedTuple):
    """A model's calls; what they changed is in the model itself after `settle`."""

    predict: Predict
    learn: Learn
    settle: Callable[[], None]


def quick_calls(model: Any, predict: Callable[[Any], Any], *, lasting: bool = False) -> Calls:
    """Return `predict`, which is one of the model's bound methods, and `learn_one` of `model`.

    A `lasting` model makes many calls before it is looked at.
    """
    own = getattr(predict, "__self__", None) is model
    steps: list[Any] = list(model.steps.values()) if type(model) is compose.Pipeline else []
    *transformers, last = steps or [None]
    if not own or not all(map(_is_plain, transformers)) or not _predicts(last):
        return Calls(predict, model.learn_one, _nothing)
    linear = linear_calls(last, predict.__name__)
    said, learned = _last_calls(last, predict.__name__, linear)
    once = len(set(map(id, transformers))) == len(transformers)
    steps = [_step_calls(step, lasting=lasting and once) for step in transformers]
    if len(steps) == 1:
        one = _OneStep(steps[0], said, learned)
        if lasting and linear is not None and _is_plain_scaler(transformers[0]):
            both = SteadyCalls(transformers[0], linear, one)
            return Calls(both.predict, both.learn, both.settle)
        return Calls(one.predict, one.learn, one.settle)
    many = _ManySteps(steps, said, learned)
    return Calls(many.predict, many.learn, many.settle)


def _nothing() -> None:
    """Give nothing back: what was learned is in the model."""


def _is_plain(step: Any) -> bool:
    """Tell whether a step learns from features alone and hands on one mapping of them."""
    return type(step) is preprocessing.StandardScaler or (
        isinstance(step, base.Transformer)
        and not isinstance(step, base.AnomalyFilter | compose.TransformerUnion)
        and not step._supervised
    )


def _predicts(last: Any) -> bool:
    kind: Any = type(last)
    return _is_estimator(kind) and bool(last._supervised)


@cache
def _is_estimator(kind: type) -> bool:
    # Asked of the class, once: asking an instance costs as much as a prediction.
    estimates = issubclass(kind, base.Classifier) or issubclass(kind, base.Regressor)
    return estimates and not issubclass(kind, base.Transformer)


class _OneStep:
    """A pipeline of one transformer and what learns."""

    __slots__ = ("_advance", "_learned", "_said", "_transform", "settle")

    def __init__(self, step: Step, said: Predict, learned: Learn) -> None:
        self._transform = step.transform
        self._advance = step.advance
        self.settle = step.settle
        self._said = said
        self._learned = learned

    def predict(self, x: Any) -> Any:
        return self._said(self._transform(x))

    def learn(self, x: Any, y: Any) -> None:
        self._learned(self._advance(x), y)


class _ManySteps:
    """A pipeline of any number of transformers and what learns."""

    __slots__ = ("_advances", "_learned", "_said", "_steps", "_transforms")

    def __init__(self, steps: Sequence[Step], said: Predict, learned: Learn) -> None:
        self._steps = steps
        self._transforms = tuple(step.transform for step in steps)
        self._advances = tuple(step.advance for step in steps)
        self._said = said
        self._learned = learned

    def predict(self, x: Any) -> Any:
        for transform in self._transforms:
            x = transform(x)
        return self._said(x)

    def learn(self, x: Any, y: Any) -> None:
        for advance in self._advances:
            x = advance(x)
        self._learned(x, y)

    def settle(self) -> None:
        for step in self._steps:
            step.settle()


def _is_plain_scaler(step: Any) -> bool:
    scaler = type(step) is preprocessing.StandardScaler
    return scaler and step.window_size is None and bool(step.with_std)


def _step_calls(step: Any, *, lasting: bool) -> Step:
    """Return the calls of a step that is no last one."""
    if _is_plain_scaler(step):
        kind = RowScaler if lasting else PlainScaler
        scaler = kind(step.counts, step.means, step.vars)
        return Step(scaler.transform, scaler.advance, scaler.settle)
    learn_one, transform_one = step.learn_one, step.transform_one

    def advance(x: Any) -> Any:
        learn_one(x)
        return transform_one(x)

    return Step(transform_one, advance, _nothing)


def _last_calls(last: Any, name: str, linear: Linear | None) -> tuple[Predict, Learn]:
    """Return the calls of a pipeline's last step."""
    if linear is not None:
        return linear.predict, linear.learn
    learn_one = last.learn_one

    def learn(x: Any, y: Any) -> None:
        learn_one(x=x, y=y)

    return getattr(last, name), learn
