"""When a checkpoint is due: often enough that a restart is short, and at a small share of the time.

Two things are wanted of it: a restart learns again what came since the last checkpoint, which
should be less than a second of work; and checkpoints should take a few per cent of the throughput.
What two checkpoints in a row have both written (a forest, dumped whole), one alone would have
written once: that is what waiting saves. What only one of them wrote (a model of its own for each
key that came) is written once however long one waits, and costs a restart just as much. So where
waiting saves most of the cost, the throughput wins, for it is paid all the time and a restart
seldom; where it cannot save even half, the restart wins.

A restart learns again what was learned, not what was waited for: a host that is busy has its
checkpoint earlier, as long as what waiting would save is a small share of its work. One with an
event now and then has no more checkpoints for it.

All of that is counted in what was written, so a host that was idle learns nothing wrong.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

EVERY_S: Final = 1.0
WORK_SHARE: Final = 0.3  # of `every_s`, in learning
EVERY_MAX_S: Final = 15.0
SHARE: Final = 0.03
# What a row costs beyond its bytes, in bytes: a guess that only has to be right for small ones.
_ROW_BYTES: Final = 100

Writes = Mapping[str, Mapping[bytes, bytes | None]]


class Spacing:
    """How long to wait for the next checkpoint, from the last ones; knows no clock.

    `wanted_s` is in time that passes, `work_s` in time spent on learning: whichever comes first.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._before: dict[str, frozenset[bytes]] = {}
        self.wanted_s = every_s
        self.work_s = WORK_SHARE * every_s

    def saved(self, cost_s: float, writes: Writes) -> None:
        """Take note that a checkpoint of these rows, by family, cost so much."""
        again = self._written_again(writes)
        self._before = {family: frozenset(rows) for family, rows in writes.items()}
        enough_s = again * cost_s / SHARE
        beyond_s = max(0.0, enough_s - self._every_s)
        # Nothing up to a half, all of it from where everything is written again.
        worth = max(0.0, 2 * again - 1)
        self.wanted_s = min(self._every_s + worth * beyond_s, max(EVERY_MAX_S, self._every_s))
        # Whatever a checkpoint costs beside its rows (a slow disk's fsync) waiting would save, too.
        self.work_s = min(max(WORK_SHARE * self._every_s, enough_s, 2 * cost_s), self.wanted_s)

    def _written_again(self, writes: Writes) -> float:
        """Return which share of the rows, by weight, the checkpoint before has written too."""
        whole = both = 0
        for family, rows in writes.items():
            before = self._before.get(family, frozenset())
            whole += _weight(rows, rows)
            both += _weight(rows, before & rows.keys())
        return both / whole if whole else 0.0


def _weight(rows: Mapping[bytes, bytes | None], names: Any) -> int:
    values = sum(len(value) for name in names if (value := rows[name]) is not None)
    return values + _ROW_BYTES * len(names)


class Pace:
    """When a checkpoint is due; looks at the clock.

    It gives hints only: where checkpoints fall never changes an output.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._spacing = Spacing(every_s)
        self._saved_at = time.monotonic()
        self._worked_s = 0.0

    def learned(self, seconds: float) -> None:
        """Take note that learning took so long, which a restart would have to do again.

        Not of what a restart learns again: somebody waits for its end, and the state is there.
        """
        self._worked_s += seconds

    def due(self) -> bool:
        """Tell whether it is time for a checkpoint."""
        passed = time.monotonic() - self._saved_at
        return passed >= self._spacing.wanted_s or self._worked_s >= self._spacing.work_s

    def saved(self, cost_s: float, writes: Writes) -> None:
        """Take note of what a checkpoint wrote, and of what it cost, dump and write."""
        self._spacing.saved(cost_s, writes)
        self._saved_at = time.monotonic()
        self._worked_s = 0.0
