"""When a checkpoint is due: often enough that a restart is short, and at a small share of the time.

A part of a checkpoint's cost is the same however long one waits (a forest is dumped whole), and
waiting makes that a smaller share. The rest grows with the time since the last one (a model for
each key: what changed), and waiting saves nothing of it, but makes the next restart longer.
"""

from __future__ import annotations

import time
from typing import Final

EVERY_S: Final = 1.0
EVERY_MAX_S: Final = 15.0
SHARE: Final = 0.03
# Two intervals tell how the cost grows once one is this many times as long as the other.
_APART: Final = 1.5


class Spacing:
    """How long to wait for the next checkpoint, from what the last ones cost; knows no clock."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._growth = 0.0  # of the cost, in seconds for each second of waiting
        self._before: tuple[float, float] | None = None
        self.wanted_s = every_s

    def saved(self, waited_s: float, cost_s: float) -> None:
        """Take note that a checkpoint cost so much, after so long."""
        if self._before is not None:
            self._learn(*self._before, waited_s, cost_s)
        if self._before is None or not self._is_close(self._before[0], waited_s):
            self._before = waited_s, cost_s
        same = max(0.0, cost_s - self._growth * waited_s)
        self.wanted_s = min(max(self._every_s, same / SHARE), EVERY_MAX_S)

    def _learn(
        self, waited_before_s: float, cost_before_s: float, waited_s: float, cost_s: float
    ) -> None:
        """Learn the growth from two checkpoints of which one came after a longer time."""
        if self._is_close(waited_before_s, waited_s):
            return
        growth = (cost_s - cost_before_s) / (waited_s - waited_before_s)
        self._growth = max(0.0, growth)

    @staticmethod
    def _is_close(one_s: float, other_s: float) -> bool:
        return max(one_s, other_s) < _APART * min(one_s, other_s)


class Pace:
    """When a checkpoint is due; looks at the clock.

    It gives hints only: where checkpoints fall never changes an output.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._spacing = Spacing(every_s)
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Tell whether it is time for a checkpoint."""
        return time.monotonic() - self._saved_at >= self._spacing.wanted_s

    def saved(self, cost_s: float) -> None:
        """Take note of what a checkpoint cost, dump and write."""
        now = time.monotonic()
        self._spacing.saved(now - self._saved_at, cost_s)
        self._saved_at = now
