"""A model around a model that raises when all is done: what is half done is the worst case."""

from __future__ import annotations

from typing import Any

from river import base

FAULT = "zz_fault"


class _HalfWay(base.Wrapper[Any]):
    model: Any

    @property
    def _wrapped_model(self) -> Any:
        return self.model

    def _ask(self, call: str, x: dict[Any, Any]) -> Any:
        said = getattr(self.model, call)(_rest(x))
        if x.get(FAULT) == "predict":
            raise ZeroDivisionError("after it had predicted")
        return said

    def predict_one(self, x: dict[Any, Any], **_: Any) -> Any:
        return self._ask("predict_one", x)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        self.model.learn_one(_rest(x), y)
        if x.get(FAULT) == "learn":
            raise ZeroDivisionError("after it had learned")


class HalfWayClassifier(_HalfWay, base.Classifier):
    """Around a classifier."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict_proba_one(self, x: dict[Any, Any], **_: Any) -> Any:
        return self._ask("predict_proba_one", x)


class HalfWayRegressor(_HalfWay, base.Regressor):
    """Around a regressor."""

    def __init__(self, model: Any) -> None:
        self.model = model


def _rest(x: dict[Any, Any]) -> dict[Any, Any]:
    return {name: value for name, value in x.items() if name != FAULT}
