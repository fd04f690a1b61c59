"""Keeps the sources that a process copies together in time, while they catch up with a history."""

from __future__ import annotations

import threading

# What comes live is not held up: records of about the same time may go in any order.
AHEAD_MAX_MS = 60_000


class Pace:
    """Who has the oldest record waiting goes first, a batch at a time; any thread may ask.

    Without it a source of labels would run ahead of its observations by as much as it is shorter.
    A source with nothing waiting holds up nobody, and the oldest one is never held: so somebody
    always goes on. Times are those at which the sources say that they took a record in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting_ms: dict[str, int] = {}

    def may_go(self, place: str, timestamp_ms: int) -> bool:
        """Take note of the oldest record that waits at a source; tells whether it may go now."""
        with self._lock:
            self._waiting_ms[place] = timestamp_ms
            return timestamp_ms - min(self._waiting_ms.values()) <= AHEAD_MAX_MS

    def rest(self, place: str) -> None:
        """Take note that a source has nothing waiting, or is not copied here any more."""
        with self._lock:
            self._waiting_ms.pop(place, None)
