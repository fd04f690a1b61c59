"""Drift monitors: a River detector over one value, and the means before and after it fires."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Literal, NamedTuple

from stream_app.errors import DeclarationError

NEWEST = 100


class Firing(NamedTuple):
    """What a detector saw when it fired; means are None where there was nothing to average."""

    direction: Literal["rise", "fall"]
    before: float | None
    after: float | None


class Monitor:
    """Watches one value with a detector: "error", or "feature:<name>".

    On the error a falling value is good news: the detector may fire, but nobody is alerted.
    """

    def __init__(self, name: str, watches: str, detector: Any) -> None:
        self.name = name
        self.watches = watches
        self.feature = watches.removeprefix("feature:")
        self.detector_name = type(detector).__name__
        self._detector = detector
        self._rises_only = watches == "error"
        self._older_sum = 0.0
        self._older = 0
        self._newest: deque[Any] = deque()

    def update(self, value: Any) -> Firing | None:
        """Watch one more value; returns what was seen when that fired the detector."""
        newest = self._newest
        newest.append(value)
        if len(newest) > NEWEST:
            self._older_sum += newest.popleft()
            self._older += 1
        self._detector.update(value)
        if not self._detector.drift_detected:
            return None
        return self._fired()

    def _fired(self) -> Firing | None:
        newest = list(self._newest)
        after = _mean(newest)
        before = self._older_sum / self._older if self._older else None
        if before is None:
            # Too early for a mean of older values: the older half of these tells the direction.
            half = len(newest) // 2
            direction = _direction(_mean(newest[:half] or newest), _mean(newest[half:]))
        else:
            direction = _direction(before, after)
        self._older_sum, self._older = 0.0, 0
        self._newest.clear()
        if self._rises_only and direction == "fall":
            return None
        return Firing(direction, before, after)

    def state(self) -> list[object]:
        """Return the state as plain values and River's detector."""
        kept = [self._older_sum, self._older, list(self._newest)]
        return [self.name, self.watches, self._detector, *kept]

    @classmethod
    def of(cls, state: list[Any]) -> Monitor:
        """Return the monitor with that state."""
        monitor = cls(*state[:3])
        monitor._older_sum, monitor._older = state[3:5]
        monitor._newest = deque(state[5])
        return monitor


def require_detector(path: str, made: object) -> Any:
    """Return what settings in the log say is a detector; raises `DeclarationError` if none."""
    if not hasattr(made, "drift_detected"):
        raise DeclarationError(
            f"{path}: {made!r} is no drift detector", attempt="stream-app apply FILE"
        )
    return made


def _mean(values: list[Any]) -> float:
    # Exact, where the plain sum is another one in newer Pythons.
    return math.fsum(values) / len(values)


def _direction(before: float, after: float) -> Literal["rise", "fall"]:
    return "fall" if after < before else "rise"
