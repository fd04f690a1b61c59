"""Models that betray every call: their state is a digest of all that they were told, in order."""

from __future__ import annotations

import zlib
from typing import Any

from river import base

RAISES_AT = 4.0


def _mixed(state: int, *what: object) -> int:
    return zlib.crc32(repr((state, what)).encode())


class Fingerprint(base.Regressor):
    """Says a number that depends on every example learned before, and on their order."""

    def __init__(self) -> None:
        self.state = 0

    def predict_one(self, x: dict[Any, Any]) -> float:
        return _mixed(self.state, sorted(x.items())) / 2**32

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        self.state = _mixed(self.state, sorted(x.items()), float(y))


class Curious(Fingerprint):
    """Remembers what it was asked, too, as some of River's scalers and mixers do."""

    def predict_one(self, x: dict[Any, Any]) -> float:
        self.state = _mixed(self.state, "asked", sorted(x.items()))
        return super().predict_one(x)


class Brittle(Curious):
    """Raises at some examples and at some questions, after half of the change was made."""

    def predict_one(self, x: dict[Any, Any]) -> float:
        said = super().predict_one(x)
        if x.get("b", 0.0) > RAISES_AT:
            raise ZeroDivisionError("asked too much")
        return said

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        super().learn_one(x, y)
        if x.get("a", 0.0) > RAISES_AT:
            raise ZeroDivisionError("told too much")
