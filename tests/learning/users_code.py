"""What users write beside their pipelines, for the tests of definitions."""

from __future__ import annotations

import random
import threading
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

from river import base, linear_model, stats

THRESHOLD = 0.5


def doubled(x: dict[str, Any]) -> dict[str, Any]:
    return {name: 2 * value for name, value in x.items()}


def above(x: dict[str, Any]) -> dict[str, Any]:
    return {name: value > THRESHOLD for name, value in doubled(x).items()}


def made_inside() -> Any:
    def inner(x: dict[str, Any]) -> dict[str, Any]:
        return x

    return inner


class Shifted(base.Transformer):
    def __init__(self, by: float = 1.0, seed: int | None = None) -> None:
        self.by = by
        self.seed = seed

    def transform_one(self, x: dict[Hashable, Any]) -> dict[Hashable, Any]:
        return {name: value + self.by for name, value in x.items()}


class Forgetful(Shifted):
    def __init__(self, by: float = 1.0, other: int = 3) -> None:
        super().__init__(by)
        self._hidden = other


class Locked(Shifted):
    def __init__(self, by: float = 1.0) -> None:
        super().__init__(by)
        self.lock = threading.Lock()


class Rounding(Shifted):
    def __init__(self, by: float = 1.0) -> None:
        super().__init__(by / 2)


class Lucky(Shifted):
    def __init__(self, by: float = 1.0, seed: int | None = None) -> None:
        super().__init__(by, seed)
        self.numbers = [random.Random(seed).random() for _ in range(3)]


class Unseeded(Shifted):
    def __init__(self, by: float = 1.0, seed: int | None = None) -> None:
        super().__init__(by, None)
        self.given = seed is not None


class Importing(base.Classifier):
    """Asks for what River imports when it is asked, or evaluates a text that only data can fail."""

    def __init__(self) -> None:
        self.seen = stats.ChiSquared()

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        if "text" in x:
            eval(x["text"], {"__file__": __file__})
        self.seen.update(x["a"], y)
        self.seen.p_value  # noqa: B018

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[Any, float]:
        return {True: 1.0}


class Careless(base.Classifier):
    """Goes on whatever a part of it raises."""

    def __init__(self) -> None:
        self.part = linear_model.AdPredictor()

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        with suppress(Exception):
            self.part.learn_one(x, y)

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[Any, float]:
        return {True: 1.0}
