"""Models of users: they raise, change what they are given, and write down what they are asked."""

from __future__ import annotations

from typing import Any

from river import base


class Counting(base.Classifier):
    """Predicts how sure it is by how often it has learned; raises where a feature says so."""

    def __init__(self) -> None:
        self.learned = 0
        self.predicted = 0

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        self.predicted += 1
        if x.get("bad") == "predict":
            raise ZeroDivisionError("bad predict")
        if x.get("bad") == "odd":
            return {True: float("nan")}
        p = self.learned / (self.learned + 1)
        return {False: 1.0 - p, True: p}

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        self.learned += 1
        if x.get("bad") == "learn":
            raise ZeroDivisionError("bad learn")


class Greedy(base.Transformer):
    """Takes a feature out of the very mapping it is given, and fails when it is not there."""

    def __init__(self) -> None:
        self.taken = 0.0

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        self.taken += x.pop("a")
        if x.get("bad"):
            raise ZeroDivisionError("bad")
        return {"b": x["b"]}


class Exhausting(base.Classifier):
    """Runs out of something of the machine's when it learns."""

    def __init__(self, error: str = "memory") -> None:
        self.error = error

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        return {True: 1.0}

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        if self.error == "memory":
            raise MemoryError
        raise RecursionError if self.error == "recursion" else KeyboardInterrupt
