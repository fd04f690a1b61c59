"""Two versions scored on the same examples: figures, differences, and how sure those are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_app.events import LabelValue
from stream_app.learning.blocks import Blocks
from stream_app.learning.jackknife import GROUPS_MIN, cut, groups_for, standard_error, students_t
from stream_app.learning.metric_sums import Floats, MetricSums, sums_of
from stream_app.learning.prequential import Prequential
from stream_app.learning.tasks.task import Said

CHUNK: Final = 10_000
BLOCKS_MAX: Final = 1024
PARTITION_BLOCKS_MIN: Final = 64
SLICE_BLOCKS_MAX: Final = 32
SLICE_BLOCKS_MIN: Final = 4


class Paired(msgspec.Struct, frozen=True, gc=False):
    """An example that both versions were tested on, and when (event time, as the fold had it)."""

    label: LabelValue
    a: Said
    b: Said
    at_ms: int
    slice: int = -1


class MetricFigures(msgspec.Struct, frozen=True):
    """A metric of both versions; `difference` is b - a, and `low` to `high` its 95 % interval.

    `why_no_interval` says so where there is none. None: no value.
    """

    name: str
    bigger_is_better: bool
    a: float | None
    b: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    why_no_interval: str | None = None


class Span(msgspec.Struct, frozen=True):
    """A stretch of time: from when on, how many examples, and (a, b) of every metric."""

    since_ms: int
    examples: int
    metrics: dict[str, tuple[float | None, float | None]]


class _Sums:
    """One metric's sums, for both versions side by side, and where they are in a row."""

    def __init__(self, name: str, sums: MetricSums, begin: int) -> None:
        self.name = name
        self.sums = sums
        self.a = slice(begin, begin + sums.width)
        self.b = slice(begin + sums.width, begin + 2 * sums.width)

    def difference(self, rows: Floats) -> Floats:
        return self.sums.values(rows[:, self.b]) - self.sums.values(rows[:, self.a])


class PairedScores:
    """The scores of two versions over the same examples, partition by partition.

    Memory: 10,000 examples, and rows of sums: 1,024 over all partitions and 32 for each slice, or
    64 and 4 for each partition where that is more.
    """

    def __init__(
        self,
        prototypes: Mapping[str, Any],
        *,
        classes: Sequence[LabelValue] = (),
        partitions: int = 1,
    ) -> None:
        self._prototypes = prototypes
        self.totals = (Prequential(prototypes), Prequential(prototypes))
        self.examples = 0
        self._sums: list[_Sums] = []
        self._width = 0
        for name, metric in prototypes.items():
            sums = sums_of(metric, classes)
            if sums is not None:
                self._sums.append(_Sums(name, sums, self._width))
                self._width += 2 * sums.width
        self._blocks_max = _even(BLOCKS_MAX // partitions, PARTITION_BLOCKS_MIN)
        self._slice_blocks_max = _even(SLICE_BLOCKS_MAX // partitions, SLICE_BLOCKS_MIN)
        self._partitions: list[Blocks] = []
        self._slices: dict[int, list[Blocks]] = {}
        self._waiting: list[Paired] = []

    def begin_partition(self) -> None:
        """Begin another partition: its time begins anew."""
        self.flush()
        self._partitions.append(Blocks(self._width, self._blocks_max))
        for blocks in self._slices.values():
            blocks.append(Blocks(self._width, self._slice_blocks_max))

    def add(self, example: Paired) -> None:
        """Score one more example of the partition."""
        self.examples += 1
        for total, said in zip(self.totals, (example.a, example.b), strict=True):
            total.score(example.label, said, 0)
        self._waiting.append(example)
        if len(self._waiting) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Add up what waits."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        for total in self.totals:
            total.start_window()
        encoded = self._encoded(rows)
        at = np.array([row.at_ms for row in rows], np.float64)
        self._partitions[-1].add(len(rows), at, lambda part: self._total(encoded, part))
        numbers = np.array([row.slice for row in rows])
        for number in np.unique(numbers[numbers >= 0]):
            mine = np.flatnonzero(numbers == number)
            chosen = [column[mine] for column in encoded]
            self._slice(int(number)).add(len(mine), at[mine], self._totals_of(chosen))

    def _totals_of(self, encoded: list[NDArray[Any]]) -> Callable[[slice], Floats]:
        return lambda part: self._total(encoded, part)

    def _slice(self, number: int) -> Blocks:
        if number not in self._slices:
            self._slices[number] = [Blocks(self._width, self._slice_blocks_max)]
        return self._slices[number][-1]

    def _encoded(self, rows: list[Paired]) -> list[NDArray[Any]]:
        """Return the examples as each metric counts them: of a and of b, metric by metric."""
        labels = [row.label for row in rows]
        said = ([row.a for row in rows], [row.b for row in rows])
        return [one.sums.encode(labels, answers) for one in self._sums for answers in said]

    def _total(self, encoded: list[NDArray[Any]], part: slice) -> Floats:
        parts = [
            one.sums.total(encoded[2 * i + version][part])
            for i, one in enumerate(self._sums)
            for version in (0, 1)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def figures(self) -> list[MetricFigures]:
        """Return every metric over all examples, as River has it, with its interval."""
        self.flush()
        a, b = (total.values() for total in self.totals)
        rows, counts, _ = _in_order(self._partitions)
        found = []
        for name in self._prototypes:
            pair = a[name][0], b[name][0]
            found.append(self._figure(name, pair, rows, counts))
        return found

    def slice_figures(self, numbers: Sequence[int]) -> tuple[int, list[MetricFigures]]:
        """Return (examples, every metric that is made of sums) over some slices together."""
        self.flush()
        chosen = [blocks for number in numbers for blocks in self._slices.get(number, ())]
        rows, counts, _ = _in_order(chosen)
        whole = rows.sum(axis=0, keepdims=True)
        found = []
        for one in self._sums:
            a, b = (_number(one.sums.values(whole[:, v])[0]) for v in (one.a, one.b))
            found.append(self._figure(one.name, (a, b), rows, counts))
        return int(counts.sum()), found

    def _figure(
        self, name: str, pair: tuple[float | None, float | None], rows: Floats, counts: Floats
    ) -> MetricFigures:
        a, b = pair
        better = bool(self._prototypes[name].bigger_is_better)
        if a is None or b is None:
            return MetricFigures(name, better, a, b, None, why_no_interval="no value")
        one = next((sums for sums in self._sums if sums.name == name), None)
        why, error, groups = _standard_error(one, rows, counts)
        if error is None:
            return MetricFigures(name, better, a, b, b - a, why_no_interval=why)
        half = students_t(groups - 1) * error
        return MetricFigures(name, better, a, b, b - a, b - a - half, b - a + half)

    def spans(self, wanted: int) -> list[Span]:
        """Return the metrics in about `wanted` stretches of time with as many examples each."""
        self.flush()
        rows, counts, at = _in_order(self._partitions)
        found = []
        for part in cut(counts, min(wanted, len(counts))) if len(counts) else ():
            whole = rows[part].sum(axis=0, keepdims=True)
            metrics = {
                one.name: (
                    _number(one.sums.values(whole[:, one.a])[0]),
                    _number(one.sums.values(whole[:, one.b])[0]),
                )
                for one in self._sums
            }
            found.append(Span(int(at[part.start]), int(counts[part].sum()), metrics))
        return found


def _even(wanted: int, least: int) -> int:
    return max(wanted, least) // 2 * 2


def _in_order(partitions: list[Blocks]) -> tuple[Floats, Floats, Floats]:
    """Return all blocks' sums, counts and times, in the order of time over all partitions."""
    used = [blocks for blocks in partitions if len(blocks.counts)]
    if not used:
        width = partitions[0].rows.shape[1] if partitions else 0
        return np.zeros((0, width)), np.zeros(0), np.zeros(0)
    at = np.concatenate([blocks.at for blocks in used])
    order = np.argsort(at, kind="stable")
    rows = np.concatenate([blocks.rows for blocks in used])[order]
    return rows, np.concatenate([blocks.counts for blocks in used])[order], at[order]


def _standard_error(
    one: _Sums | None, rows: Floats, counts: Floats
) -> tuple[str | None, float | None, int]:
    """Return (why there is none, the standard error of the difference, from how many groups)."""
    if one is None:
        return "it is no metric of sums, so parts of the events cannot be left out", None, 0
    if one.sums.problem is not None:
        return one.sums.problem, None, 0
    groups = groups_for(int(counts.sum()))
    parts = cut(counts, groups) if groups else []
    if len(parts) < GROUPS_MIN:
        return "too few events", None, 0
    sizes = np.array([counts[part].sum() for part in parts])
    sums = np.array([rows[part].sum(axis=0) for part in parts])
    error = standard_error(sums, sizes, one.difference)
    if error is None:
        return "without a part of the events it has no value", None, 0
    return None, error, len(parts)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
