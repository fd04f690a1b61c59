"""Models as users write them, which change a part of themselves and then raise."""

from __future__ import annotations

from collections.abc import Hashable
from math import exp, nan
from typing import Any

from river import base

from tests.recovery import faults


class Brittle(base.Classifier):
    """Raises where the feature `fault` says so, half-way through; every call changes it."""

    def __init__(self) -> None:
        self.total = 0.0
        self.asked = 0

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[Any, float]:
        self.asked += 1
        if x.get("fault") == "predict":
            raise ZeroDivisionError("asked for too much")
        if x.get("fault") == "machine" and faults.armed:
            raise faults.armed[0]("the machine is at its end")
        probability = 1 / (1 + exp(-(self.total + self.asked / 50) / 10))
        if x.get("fault") == "nan":
            probability = nan
        return {True: probability, False: 1 - probability}

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        self.total += x["wind"]
        if x.get("fault") == "learn":
            raise ValueError("learned too much")
        self.total += 1 if y else -1


class Gusty(base.Classifier):
    """Raises now and then, by the weather."""

    def __init__(self) -> None:
        self.total = 0.0

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[Any, float]:
        self.total += 0.01
        if x["wind"] < -1.5:
            raise ValueError("too calm to tell")
        probability = 1 / (1 + exp(-self.total))
        return {True: probability, False: 1 - probability}

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        self.total += x["wind"] / 10
        if x["wind"] > 1.5:
            raise ValueError("blown away")
        self.total += 0.1 if y else -0.1


class Vague(base.Classifier):
    """Knows no probabilities, and says what is no class."""

    def __init__(self) -> None:
        self.seen = 0

    def predict_one(self, x: dict[Hashable, Any], **_: Any) -> Any:
        return nan if x.get("fault") == "nan" else True

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        self.seen += 1
