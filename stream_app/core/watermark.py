"""How far event time has come: the monotone median of the newest accepted times.

One wrong clock within the gate's bound timed out nearly every waiting observation when this was
a maximum; with the median it times out none.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Any, Final

NEWEST: Final = 101


class Watermark:
    """Event time in Unix milliseconds that never goes back; 0 before the first event.

    The median is the lower middle one while the number of times is even.
    """

    __slots__ = ("_ordered", "_times", "now_ms")

    def __init__(self) -> None:
        self.now_ms = 0
        self._times: deque[int] = deque()
        self._ordered: list[int] = []

    def advance(self, ts_ms: int) -> int:
        """Take the time of one more accepted observation or label in; returns event time."""
        times, ordered = self._times, self._ordered
        times.append(ts_ms)
        insort(ordered, ts_ms)
        if len(times) > NEWEST:
            del ordered[bisect_left(ordered, times.popleft())]
        median = ordered[(len(ordered) - 1) >> 1]
        if median > self.now_ms:  # noqa: PLR1730 - `max` is a call, for every event
            self.now_ms = median
        return self.now_ms

    def set(self, ts_ms: int) -> None:
        """Obey a `time` control: event time has come at least this far."""
        self.now_ms = max(self.now_ms, ts_ms)

    def state(self) -> list[object]:
        """Return the state as plain values."""
        return [self.now_ms, list(self._times)]

    @classmethod
    def of(cls, state: list[Any]) -> Watermark:
        """Return the watermark with that state."""
        mark = cls()
        now_ms, times = state
        mark.now_ms = now_ms
        mark._times = deque(times)
        mark._ordered = sorted(mark._times)
        return mark
