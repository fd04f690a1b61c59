"""Shifts the wall clock of every Python process that has this directory on its path.

By how many seconds is in a file, so that a test can let the clock of a running process jump.
"""

import os
import time
from collections.abc import Callable


def _shift_clock(place: str) -> None:
    true_ns: Callable[[], int] = time.time_ns

    def shifted_ns() -> int:
        with open(place) as file:  # noqa: PTH123 - every process that starts would import pathlib
            return true_ns() + int(file.read() or 0) * 1_000_000_000

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9


if "SHIFTED_CLOCK" in os.environ:
    _shift_clock(os.environ["SHIFTED_CLOCK"])
