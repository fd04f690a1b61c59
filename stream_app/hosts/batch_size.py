"""How many records a live batch takes."""

from __future__ import annotations

from typing import Final

BATCH_MIN: Final = 1000
BATCH_MAX: Final = 5000
QUICK_S: Final = 0.05
SLOW_S: Final = 0.1


class BatchSize:
    """More while there are more and learning them is quick; results do not depend on it.

    Each batch is a transaction, which costs a broker's answers or a disk's; and whoever waits for
    an output, a stop or another partition waits for a batch.
    """

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records = BATCH_MIN

    def learned(self, records: int, seconds: float) -> None:
        """Take note of how many records a batch had, and how long they took to learn."""
        if seconds > SLOW_S:
            self.records = max(self.records // 2, BATCH_MIN)
        elif records >= self.records and seconds < QUICK_S:
            self.records = min(self.records * 2, BATCH_MAX)
