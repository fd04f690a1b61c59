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
from math import exp
from typing import Any, Final, NamedTuple

from river import base, compose, linear_model, optim, preprocessing
from river.utils import VectorDict
from river.utils.math import clamp, sigmoid

from stream_app.learning.scaling import LastingScaler, PlainScaler

# A transformer may hand on whatever mapping it likes.
Predict = Callable[[Any], Any]
Learn = Callable[[Any, Any], object]
Transform = Callable[[Any], Any]


# Beyond these River's logistic loss and its sigmoid take other branches.
_STEEP: Final = 18.0
_FLAT: Final = 30.0


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
    said, learned = _last_calls(last, predict.__name__)
    once = len(set(map(id, transformers))) == len(transformers)
    steps = [_step_calls(step, lasting=lasting and once) for step in transformers]
    if len(steps) == 1:
        one = _OneStep(steps[0], said, learned)
        return Calls(one.predict, one.learn, steps[0].settle)
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

    __slots__ = ("_advance", "_learned", "_said", "_transform")

    def __init__(self, step: Step, said: Predict, learned: Learn) -> None:
        self._transform = step.transform
        self._advance = step.advance
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
        kind = LastingScaler if lasting else PlainScaler
        scaler = kind(step.counts, step.means, step.vars)
        return Step(scaler.transform, scaler.advance, scaler.settle)
    learn_one, transform_one = step.learn_one, step.transform_one

    def advance(x: Any) -> Any:
        learn_one(x)
        return transform_one(x)

    return Step(transform_one, advance, _nothing)


def _last_calls(last: Any, name: str) -> tuple[Predict, Learn]:
    """Return the calls of a pipeline's last step."""
    if _is_plain_linear(last):
        if type(last) is linear_model.LogisticRegression and type(last.loss) is optim.losses.Log:
            logistic = _Logistic(last)
            said = logistic.predict if name == "predict_proba_one" else getattr(last, name)
            return said, logistic.learn
        if type(last) is linear_model.LinearRegression and type(last.loss) is optim.losses.Squared:
            return last.predict_one, _Squared(last).learn
    learn_one = last.learn_one

    def learn(x: Any, y: Any) -> None:
        learn_one(x=x, y=y)

    return getattr(last, name), learn


def _is_plain_linear(last: Any) -> bool:
    """Tell whether a step is a linear model without penalties, by steps of constant length."""
    constant = optim.schedulers.Constant
    return (
        type(last) in (linear_model.LogisticRegression, linear_model.LinearRegression)
        and last.l1 == 0.0
        and not last.l2
        and type(last.optimizer) is optim.SGD
        and type(last.optimizer.lr) is constant
        and type(last.intercept_lr) is constant
    )


class _Linear:
    """A linear model, moved against a gradient as its optimizer and its clipping say."""

    __slots__ = ("_clip", "_intercept_rate", "_last", "_optimizer", "_rate")

    def __init__(self, last: Any) -> None:
        self._last = last
        self._optimizer = last.optimizer
        self._clip = last.clip_gradient
        self._rate = last.optimizer.lr.learning_rate
        self._intercept_rate = last.intercept_lr.learning_rate

    def _move(self, weights: Any, x: Any, gradient: Any) -> None:
        slope, clip = float(gradient), self._clip
        if not -clip <= slope <= clip:
            slope = float(clamp(slope, -clip, clip))
        self._last.intercept -= self._intercept_rate * slope
        weights.isub_scaled(VectorDict.from_scaled(x, slope), self._rate)
        self._optimizer.n_iterations += 1


class _Logistic(_Linear):
    """A logistic regression with its own loss."""

    __slots__ = ("_down", "_loss", "_up")

    def __init__(self, last: linear_model.LogisticRegression) -> None:
        super().__init__(last)
        self._loss = last.loss
        self._up = last.loss.weight_pos * -1
        self._down = last.loss.weight_neg * 1

    def predict(self, x: Any) -> dict[bool, float]:
        last = self._last
        logit = last._weights.dot(x) + last.intercept
        p = 1 / (1 + exp(-logit)) if -_FLAT <= logit <= _FLAT else sigmoid(logit)
        return {False: 1.0 - p, True: p}

    def learn(self, x: Any, y: Any) -> None:
        last = self._last
        weights: Any = VectorDict(last._weights, last.initializer, x)
        raw = weights.dot(x) + last.intercept
        if y is True and -_STEEP <= raw <= _STEEP:
            gradient = self._up / (exp(raw) + 1.0)
        elif y is False and -_STEEP <= raw <= _STEEP:
            gradient = self._down / (exp(-raw) + 1.0)
        else:
            gradient = self._loss.gradient(y_true=y, y_pred=raw)
        self._move(weights, x, gradient)


class _Squared(_Linear):
    """A linear regression with the squared loss."""

    __slots__ = ()

    def learn(self, x: Any, y: Any) -> None:
        last = self._last
        weights: Any = VectorDict(last._weights, last.initializer, x)
        self._move(weights, x, 2 * (weights.dot(x) + last.intercept - y))
