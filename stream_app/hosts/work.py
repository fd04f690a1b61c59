"""Counts and times what one process does on a partition, batch by batch."""

from __future__ import annotations

import time
from bisect import bisect_left
from pathlib import Path

from stream_app.hosts.checkpoints import bytes_on_disk, saved_ms
from stream_app.web.figures import BOUNDS_S, Durations, WorkFigures


class Stopwatch:
    """Times of one kind, sorted into `BOUNDS_S`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one time."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def durations(self) -> Durations:
        """Return all times so far."""
        return Durations(tuple(self._counts), self._sum_s)


class Work:
    """What a partition's host tells of each batch; decides nothing and raises nothing.

    `directory` is where checkpoints go, if that is a directory at all. `began_s` of every method
    is `time.monotonic()` from before what it tells of.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._outputs = self._restores = self._relearned = 0
        self._learn, self._commit, self._checkpoint = Stopwatch(), Stopwatch(), Stopwatch()
        self._saved_at_s: float | None = None
        self._saved_offset: int | None = None
        self._saved_bytes: int | None = None
        self._unsaved_since_s: float | None = None

    def opened(self, next_offset: int, *, behind: bool, rebuilt: bool) -> None:
        """Take note of where the state stood, and whether anything is to be learned again."""
        self._restores += behind
        if self._directory is not None and not rebuilt:
            saved = saved_ms(self._directory)
            self._saved_at_s = None if saved is None else saved / 1000
            self._saved_offset = None if saved is None else next_offset
        self._weigh()

    def learned(self, began_s: float, records_again: int = 0) -> None:
        """Take note that a batch was processed, and how many of its records for another time."""
        now = time.monotonic()
        self._learn.add(now - began_s)
        self._relearned += records_again
        if self._unsaved_since_s is None:
            self._unsaved_since_s = now

    def committed(self, began_s: float, outputs: int) -> None:
        """Take note that a batch's outputs and position are in the log."""
        self._commit.add(time.monotonic() - began_s)
        self._outputs += outputs

    def saved(self, began_s: float, next_offset: int) -> None:
        """Take note that everything up to `next_offset` is in a checkpoint."""
        self._checkpoint.add(time.monotonic() - began_s)
        self._saved_at_s = time.time()
        self._saved_offset = next_offset
        self._unsaved_since_s = None
        self._weigh()

    def _weigh(self) -> None:
        if self._directory is not None:
            self._saved_bytes = bytes_on_disk(self._directory)

    def figures(self) -> WorkFigures:
        """Return all of it, as of now."""
        return WorkFigures(
            outputs=self._outputs,
            restores=self._restores,
            relearned=self._relearned,
            learn=self._learn.durations(),
            commit=self._commit.durations(),
            checkpoint=self._checkpoint.durations(),
            saved_at_s=self._saved_at_s,
            saved_offset=self._saved_offset,
            saved_bytes=self._saved_bytes,
            unsaved_since_s=self._unsaved_since_s,
        )
