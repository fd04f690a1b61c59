"""Sums over consecutive examples in a fixed number of blocks, which grow as the examples do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Blocks:
    """At most `blocks_max` (even) rows of `width` sums; full, neighbours are added up in pairs.

    So each block but the last holds as many examples as any other, and there are never fewer
    than half of the blocks that there may be once they were full. `at` tells each block's place
    on whatever axis its first example was given with.
    """

    def __init__(self, width: int, blocks_max: int) -> None:
        self.size = 1
        self._rows = np.zeros((blocks_max, width))
        self._counts = np.zeros(blocks_max)
        self._at = np.zeros(blocks_max)
        self._used = 0

    def add(self, examples: int, at: Floats, total: Callable[[slice], Floats]) -> None:
        """Add examples, which `total` sums up for a slice of them; `at` has a place for each."""
        done = 0
        while done < examples:
            if not self._used or self._counts[self._used - 1] >= self.size:
                self._open(at[done])
            block = self._used - 1
            taken = min(int(self.size - self._counts[block]), examples - done)
            self._rows[block] += total(slice(done, done + taken))
            self._counts[block] += taken
            done += taken

    def _open(self, at: float) -> None:
        if self._used == len(self._rows):
            half = self._used // 2
            for array in (self._rows, self._counts):
                array[:half] = array[0::2] + array[1::2]
                array[half:] = 0
            self._at[:half] = self._at[0::2].copy()
            self._used = half
            self.size *= 2
        self._at[self._used] = at
        self._used += 1

    @property
    def rows(self) -> Floats:
        """The blocks' sums."""
        return self._rows[: self._used]

    @property
    def counts(self) -> Floats:
        """How many examples each block has."""
        return self._counts[: self._used]

    @property
    def at(self) -> Floats:
        """Where each block begins."""
        return self._at[: self._used]
