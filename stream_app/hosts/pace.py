"""Keeps the sources that a process copies together in time, while they catch up with a history."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

# What comes live is not held up: records of about the same time may go in any order.
AHEAD_MAX_MS = 60_000
# A record dated next year is never reached by a source that goes on live, and would hold up its
# partition until then. While a history is caught up with, others copy some ten batches meanwhile.
HOLD_MAX_S = 5.0
_UNREAD_MS = -(1 << 62)


class Pace:
    """Who has the oldest record waiting goes first, a batch at a time; any thread may ask.

    Without it a source of labels would run ahead of its observations by as much as it is shorter.
    A source with nothing waiting holds up nobody, the oldest one is never held, and the others at
    most `HOLD_MAX_S` a batch. Times are the records' own: their producers say them, unless the
    topic has LogAppendTime.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._waiting_ms: dict[str, int] = {}
        self._held_since_s: dict[str, float] = {}

    def expect(self, places: Iterable[str]) -> None:
        """Hold all others until these have looked what waits there: the first would run ahead."""
        with self._lock:
            for place in places:
                self._waiting_ms.setdefault(place, _UNREAD_MS)

    def may_go(self, place: str, timestamp_ms: int) -> bool:
        """Take note of the oldest record that waits at a source; tells whether it may go now."""
        with self._lock:
            self._waiting_ms[place] = timestamp_ms
            if timestamp_ms - min(self._waiting_ms.values()) > AHEAD_MAX_MS:
                now_s = self._now_s()
                if now_s - self._held_since_s.setdefault(place, now_s) < HOLD_MAX_S:
                    return False
            self._held_since_s.pop(place, None)
            return True

    def rest(self, place: str) -> None:
        """Take note that a source has nothing waiting, or is not copied here any more."""
        with self._lock:
            self._waiting_ms.pop(place, None)
            self._held_since_s.pop(place, None)
