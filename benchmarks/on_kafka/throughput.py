"""Wall time, CPU and memory of every row while it drains a full topic."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import foundation
from peers.work import Example, Learner, examples

from on_kafka.ground import committed_probabilities, fill, fresh
from on_kafka.rows import Measured, Place, Row, drain


class WrongPredictions(Exception):
    """A row did not publish what River alone says; its figures would be of something else."""


class Bare(NamedTuple):
    """River's bare loop, in microseconds per event."""

    wall_us: float
    cpu_us: float


class Result(NamedTuple):
    """A row's medians over the rounds, in microseconds per event and MB."""

    wall_us: float
    cpu_us: float
    x_bare: float
    peak_mb: float


def throughput(
    rows: Sequence[Row],
    broker: str,
    peers_python: Path,
    events: int,
    rounds: int,
    say: Callable[[str], None],
) -> tuple[Bare, dict[str, Result]]:
    """Return the bare loop's figures, and every row's."""
    learned = examples(events)
    expected = _expected(learned)
    bare: list[foundation.Clock] = []
    measured: dict[str, list[Measured]] = {row.name: [] for row in rows}
    for number in range(rounds):
        bare.append(foundation.bare(learned))
        for row in rows:
            with tempfile.TemporaryDirectory() as folder:
                place = Place(fresh(broker), peers_python, Path(folder))
                fill(place.connection, learned)
                seen = drain(row, place, events)
            _require_all(row, committed_probabilities(place.connection), expected)
            measured[row.name].append(seen)
            micros = seen.wall_s / events * 1e6
            say(f"round {number + 1} of {rounds}: {row.title}: {micros:.1f} µs")
    walls = [wall for wall, _ in bare]
    results = {name: _median(found, walls, events) for name, found in measured.items()}
    wall, cpu = (statistics.median(each) / events * 1e6 for each in zip(*bare, strict=True))
    return Bare(wall, cpu), results


def _expected(learned: list[Example]) -> dict[str, list[float]]:
    learner = Learner()
    events = ({"id": f"id-{i}", "features": x, "label": y} for i, (x, y) in enumerate(learned))
    answers = map(learner.answer, events)
    return {answer["observation_id"]: [answer["probability"]] for answer in answers}


def _require_all(row: Row, found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    """Hold what was published against River alone: each once, in order, to the last digit."""
    if found == expected and list(found) == list(expected):
        return
    missing, repeated = len(expected.keys() - found.keys()), sum(len(p) - 1 for p in found.values())
    differ = sum(found[name] != said for name, said in expected.items() if name in found)
    raise WrongPredictions(
        f"{row.title}: {missing} predictions are missing, {repeated} repeated, {differ} differ; "
        "if none, their order does"
    )


def _median(found: list[Measured], bare: list[float], events: int) -> Result:
    walls = [each.wall_s for each in found]
    return Result(
        wall_us=statistics.median(walls) / events * 1e6,
        cpu_us=statistics.median(each.cpu_s for each in found) / events * 1e6,
        x_bare=statistics.median(b / wall for b, wall in zip(bare, walls, strict=True)),
        peak_mb=statistics.median(each.peak_mb for each in found),
    )
