"""The calls of a linear model: what River does of them, without what it decides at every call."""

from __future__ import annotations

from math import exp
from typing import Any, Final

from river import linear_model, optim
from river.utils import VectorDict
from river.utils.math import clamp, sigmoid

# Beyond these River's logistic loss and its sigmoid take other branches.
_STEEP: Final = 18.0
_FLAT: Final = 30.0


def linear_calls(last: Any, name: str) -> Linear | None:
    """Return the calls of a model whose `name` predicts, or None where they are not known here."""
    if not _is_plain(last):
        return None
    if type(last) is linear_model.LogisticRegression and _is_weighted(last.loss):
        return Logistic(last) if name == "predict_proba_one" else None
    if type(last) is linear_model.LinearRegression and type(last.loss) is optim.losses.Squared:
        return Squared(last) if name == "predict_one" else None
    return None


def _is_weighted(loss: Any) -> bool:
    """Tell whether a loss is River's logistic one, with numbers as the weights of its classes."""
    return type(loss) is optim.losses.Log and all(
        isinstance(weight, int | float) for weight in (loss.weight_pos, loss.weight_neg)
    )


def _is_plain(last: Any) -> bool:
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


class Linear:
    """A linear model, moved against a gradient as its optimizer and its clipping say."""

    __slots__ = ("_clip", "intercept_rate", "model", "rate")

    def __init__(self, model: Any) -> None:
        self.model = model
        self._clip = model.clip_gradient
        self.rate = model.optimizer.lr.learning_rate
        self.intercept_rate = model.intercept_lr.learning_rate

    def predict(self, x: Any) -> Any:
        """Return what the model says of features."""
        model = self.model
        return self.said(model._weights.dot(x) + model.intercept)

    def learn(self, x: Any, y: Any) -> None:
        """Learn one example."""
        model = self.model
        weights: Any = VectorDict(model._weights, model.initializer, x)
        slope = self.slope(weights.dot(x) + model.intercept, y)
        model.intercept -= self.intercept_rate * slope
        weights.isub_scaled(VectorDict.from_scaled(x, slope), self.rate)
        model.optimizer.n_iterations += 1

    def slope(self, raw: Any, y: Any) -> float:
        """Return the loss's slope at the weighted sum `raw`, clipped."""
        slope, clip = float(self.gradient(raw, y)), self._clip
        return slope if -clip <= slope <= clip else float(clamp(slope, -clip, clip))

    def said(self, raw: Any) -> Any:
        """Return what the model says where the weighted sum is `raw`."""
        raise NotImplementedError

    def gradient(self, raw: Any, y: Any) -> Any:
        """Return the loss's slope at the weighted sum `raw`."""
        raise NotImplementedError


class Logistic(Linear):
    """A logistic regression with its own loss."""

    __slots__ = ("_down", "_loss", "_up")

    def __init__(self, model: linear_model.LogisticRegression) -> None:
        super().__init__(model)
        self._loss = model.loss
        self._up = model.loss.weight_pos * -1
        self._down = model.loss.weight_neg * 1

    def said(self, raw: Any) -> dict[bool, float]:
        """Return both probabilities."""
        p = 1 / (1 + exp(-raw)) if -_FLAT <= raw <= _FLAT else sigmoid(raw)
        return {False: 1.0 - p, True: p}

    def gradient(self, raw: Any, y: Any) -> Any:
        """Return the slope of the logistic loss."""
        if y is True and -_STEEP <= raw <= _STEEP:
            return self._up / (exp(raw) + 1.0)
        if y is False and -_STEEP <= raw <= _STEEP:
            return self._down / (exp(-raw) + 1.0)
        return self._loss.gradient(y_true=y, y_pred=raw)


class Squared(Linear):
    """A linear regression with the squared loss."""

    __slots__ = ()

    def said(self, raw: Any) -> Any:
        """Return the sum itself."""
        return raw

    def gradient(self, raw: Any, y: Any) -> Any:
        """Return the slope of the squared loss."""
        return 2 * (raw - y)
