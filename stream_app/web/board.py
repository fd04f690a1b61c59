"""What is known of the partitions of this process now: written by a host, read by the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

import msgspec

from stream_app.records import Place
from stream_app.web.figures import Standing

STALL_S = 120.0

LIVE, OPENING, RELEARNING, STALLED, STOPPED = (
    "live",
    "opening",
    "learning again",
    "stalled",
    "stopped",
)


R = TypeVar("R", bound=Standing)


class Row(msgspec.Struct, Generic[R], frozen=True):
    """One owned partition: its state, what is missing until it is live, and its newest report.

    `age_s` is how long ago the loop came round to it, None before the first time.
    """

    partition: Place
    state: str
    missing: str | None
    report: R | None
    age_s: float | None


class _Known(msgspec.Struct, Generic[R], frozen=True):
    report: R | None = None
    at_s: float = 0.0
    problem: str | None = None


class Board(Generic[R]):
    """The newest report of each owned partition. Any thread may write or read it.

    A loop that has not come round for `stall_s` seconds counts as stalled. Opening a partition is
    no step of the loop and has no time limit.
    """

    def __init__(
        self, *, stall_s: float = STALL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pipeline: str | None = None
        self._stall_s = stall_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[Place, _Known[R]] | None = None

    def own(self, pipeline: str, partitions: Collection[Place]) -> None:
        """Take note of which partitions are ours from now on; forgets all others."""
        with self._lock:
            known = self._known or {}
            self.pipeline = pipeline
            self._known = {number: known.get(number, _Known()) for number in partitions}

    def take(self, report: R) -> None:
        """Take a partition's newest report in; one that is not ours any more is left out."""
        with self._lock:
            if self._known is not None and report.partition in self._known:
                self._known[report.partition] = _Known(report, self._clock())

    def stop(self, partition: Place, problem: str) -> None:
        """Take note that an error stopped a partition, until its next report."""
        with self._lock:
            if self._known is not None and partition in self._known:
                last = self._known[partition]
                self._known[partition] = _Known(last.report, last.at_s, problem)

    def rows(self) -> list[Row[R]] | None:
        """Return what is known of every owned partition; None before `own` was called."""
        with self._lock:
            if self._known is None:
                return None
            now = self._clock()
            return [
                self._row(number, self._known[number], now)
                for number in sorted(self._known, key=_order)
            ]

    def _row(self, partition: Place, known: _Known[R], now: float) -> Row[R]:
        report = known.report
        age_s = None if report is None else now - known.at_s
        state, missing = LIVE, None
        if known.problem is not None:
            state, missing = STOPPED, known.problem
        elif report is None or age_s is None:
            state, missing = OPENING, "its state is being opened"
        elif age_s > self._stall_s:
            state, missing = STALLED, f"no step for {age_s:.0f} s"
        elif report.relearning:
            left = report.committed - report.next_offset
            state = RELEARNING
            missing = f"{left} records up to {report.committed} are to be learned again"
        return Row(partition, state, missing, report, age_s)


def _order(place: Place) -> tuple[str, int]:
    """Sort by topic and then by number."""
    if isinstance(place, int):
        return "", place
    topic, _, number = place.rpartition("/")
    return topic, int(number)
