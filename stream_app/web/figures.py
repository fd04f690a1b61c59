"""What a host tells of a partition for its operator: taken per batch and per report, no oftener."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from stream_app.core.commit import Commit
from stream_app.outputs import Evaluation
from stream_app.records import Place

# Upper bounds, in seconds; what is above the last one is counted in one more place.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Durations(msgspec.Struct, frozen=True):
    """How long something took: counts per bound of `BOUNDS_S` (and above all), and the sum."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0


class WorkFigures(msgspec.Struct, frozen=True):
    """What one process did on a partition, since it opened it.

    `restores` counts starts whose state stood behind the committed position, and `relearned` the
    records learned again for it. `saved_at_s` (seconds since 1970), `saved_offset` and
    `saved_bytes` are of the newest checkpoint, None when there is none or nobody knows.
    `unsaved_since_s`, on the clock of `time.monotonic`, is when the oldest change happened that is
    in no checkpoint.
    """

    outputs: int = 0
    restores: int = 0
    relearned: int = 0
    learn: Durations = Durations()
    commit: Durations = Durations()
    checkpoint: Durations = Durations()
    saved_at_s: float | None = None
    saved_offset: int | None = None
    saved_bytes: int | None = None
    unsaved_since_s: float | None = None


class Standing(Protocol):
    """How far a partition is. Leaves out where its records come from and who works on them."""

    @property
    def partition(self) -> Place:
        """Which it is."""
        ...

    @property
    def next_offset(self) -> int:
        """First offset not yet processed."""
        ...

    @property
    def end(self) -> int:
        """First offset that the log had not given yet."""
        ...

    @property
    def committed(self) -> int:
        """The committed position at the start: below it all is learned again."""
        ...

    @property
    def relearning(self) -> bool:
        """Whether it is not live yet."""
        ...


class SourceReport(Standing, Protocol):
    """How far intake has copied a partition of a source."""

    @property
    def copied(self) -> int:
        """Events made of its records, since its beginning."""
        ...

    @property
    def refused(self) -> int:
        """Copies that could not be mapped: one for each mapping that a record failed."""
        ...

    @property
    def skipped(self) -> int:
        """Its records that no mapping was for."""
        ...


class Report(Standing, Protocol):
    """How far the fold of a partition is, and what it told."""

    @property
    def commit(self) -> Commit | None:
        """The newest commit record, if there is one."""
        ...

    @property
    def work(self) -> WorkFigures:
        """What the process did there."""
        ...

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Every version's newest evaluation that this process published."""
        ...
