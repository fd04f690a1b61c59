"""The calls of a model, with less on the way: bit for bit what River's own methods do.

River decides at every call what cannot change between two of them: which steps a pipeline has and
of what kind, whether a scaler has a window, which penalties a linear model knows. Here that is
decided once, when a model is loaded. The arithmetic, its order, and the entries that a call makes
are River's, on the very objects that River's methods would change; everything that is not known
here to the letter is called as River calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import exp
from typing import Any, Final

from river import base, compose, linear_model, optim, preprocessing
from river.utils import VectorDict
from river.utils.math import clamp, sigmoid

from stream_app.learning.scaling import advance_pass, transform_pass

# A transformer may hand on whatever mapping it likes.
Predict = Callable[[Any], Any]
Learn = Callable[[Any, Any], object]
Transform = Callable[[Any], Any]

# Beyond these River's logistic loss and its sigmoid take other branches.
_STEEP: Final = 18.0
_FLAT: Final = 30.0


def quick_calls(model: Any, predict: Callable[[Any], Any]) -> tuple[Predict, Learn]:
    """Return (`predict`, `learn_one`) of `model`, where `predict` is one of its bound methods."""
    own = getattr(predict, "__self__", None) is model
    steps: list[Any] = list(model.steps.values()) if type(model) is compose.Pipeline else []
    *transformers, last = steps or [None]
    if not own or not all(map(_is_plain, transformers)) or not _predicts(last):
        return predict, model.learn_one
    said, learned = _last_calls(last, predict.__name__)
    transforms = tuple(_transform(step) for step in transformers)
    advances = tuple(_advance(step) for step in transformers)
    if len(transforms) == 1:
        return _one_step(transforms[0], advances[0], said, learned)
    return _many_steps(transforms, advances, said, learned)


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


def _one_step(
    transform: Transform, advance: Transform, said: Predict, learned: Learn
) -> tuple[Predict, Learn]:
    def predict(x: Any) -> Any:
        return said(transform(x))

    def learn(x: Any, y: Any) -> None:
        learned(advance(x), y)

    return predict, learn


def _many_steps(
    transforms: Sequence[Transform], advances: Sequence[Transform], said: Predict, learned: Learn
) -> tuple[Predict, Learn]:
    def predict(x: Any) -> Any:
        for transform in transforms:
            x = transform(x)
        return said(x)

    def learn(x: Any, y: Any) -> None:
        for advance in advances:
            x = advance(x)
        learned(x, y)

    return predict, learn


def _is_plain_scaler(step: Any) -> bool:
    scaler = type(step) is preprocessing.StandardScaler
    return scaler and step.window_size is None and bool(step.with_std)


def _transform(step: Any) -> Transform:
    """Return the call that transforms features."""
    if not _is_plain_scaler(step):
        return step.transform_one  # type: ignore[no-any-return]
    return transform_pass(step.means, step.vars)


def _advance(step: Any) -> Transform:
    """Return the call that lets a step learn from features and then transforms them."""
    if _is_plain_scaler(step):
        return advance_pass(step.counts, step.means, step.vars)
    learn_one, transform_one = step.learn_one, step.transform_one

    def advance(x: Any) -> Any:
        learn_one(x)
        return transform_one(x)

    return advance


def _last_calls(last: Any, name: str) -> tuple[Predict, Learn]:
    """Return the calls of a pipeline's last step."""
    if _is_plain_linear(last):
        if type(last) is linear_model.LogisticRegression and type(last.loss) is optim.losses.Log:
            said = _probabilities(last) if name == "predict_proba_one" else getattr(last, name)
            return said, _learn_logistic(last)
        if type(last) is linear_model.LinearRegression and type(last.loss) is optim.losses.Squared:
            return last.predict_one, _learn_squared(last)
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


def _probabilities(last: linear_model.LogisticRegression) -> Predict:
    def predict(x: Any) -> dict[bool, float]:
        logit = last._weights.dot(x) + last.intercept
        p = 1 / (1 + exp(-logit)) if -_FLAT <= logit <= _FLAT else sigmoid(logit)
        return {False: 1.0 - p, True: p}

    return predict


def _learn_logistic(last: linear_model.LogisticRegression) -> Learn:
    loss, step = last.loss, _stepper(last)
    up, down = loss.weight_pos * -1, loss.weight_neg * 1

    def learn(x: Any, y: Any) -> None:
        weights: Any = VectorDict(last._weights, last.initializer, x)
        raw = weights.dot(x) + last.intercept
        if y is True and -_STEEP <= raw <= _STEEP:
            gradient = up / (exp(raw) + 1.0)
        elif y is False and -_STEEP <= raw <= _STEEP:
            gradient = down / (exp(-raw) + 1.0)
        else:
            gradient = loss.gradient(y_true=y, y_pred=raw)
        step(weights, x, gradient)

    return learn


def _learn_squared(last: linear_model.LinearRegression) -> Learn:
    step = _stepper(last)

    def learn(x: Any, y: Any) -> None:
        weights: Any = VectorDict(last._weights, last.initializer, x)
        step(weights, x, 2 * (weights.dot(x) + last.intercept - y))

    return learn


def _stepper(last: Any) -> Callable[[Any, Any, Any], None]:
    """Return what moves a linear model's intercept and weights against a gradient."""
    optimizer, clip = last.optimizer, last.clip_gradient
    rate, intercept_rate = optimizer.lr.learning_rate, last.intercept_lr.learning_rate
    from_scaled = VectorDict.from_scaled

    def step(weights: Any, x: Any, gradient: Any) -> None:
        slope = float(gradient)
        if not -clip <= slope <= clip:
            slope = float(clamp(slope, -clip, clip))
        last.intercept -= intercept_rate * slope
        weights.isub_scaled(from_scaled(x, slope), rate)
        optimizer.n_iterations += 1

    return step
