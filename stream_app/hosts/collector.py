"""Keeps Python's garbage collector from walking again and again over what is there to stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# As many objects as all live models of a version have that is one model per key (4,096 times 22):
# a checkpoint lets go of them, and making them anew is no reason to walk over them.
YOUNG_MAX: Final = 100_000


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Collect nothing meanwhile: for imports and restores, of which nearly all stays.

    They make a million objects and no garbage to speak of, and every few thousand would be paid
    for by a walk over those before: a tenth of a start's time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def calm_garbage_collector() -> None:
    """Let the collector look at what the loop makes, not at all that was imported before.

    Events make no cycles; without this every few thousand of them pay for a walk over River,
    NumPy and SciPy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 50)
