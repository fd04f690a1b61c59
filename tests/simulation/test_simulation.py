"""Thousands of worlds, each lived through in storm and in calm: nobody who reads can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.simulation import Wrong, simulate
from tests.simulation.storms import survived

CHUNK, CHUNKS = 50, 40
MUTANT_SEEDS = 400


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_world_in_storm_comes_to_what_it_comes_to_in_calm(chunk: int) -> None:
    befell: Counter[str] = Counter()
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        try:
            befell += simulate(seed)
        except Exception as error:
            error.add_note(f"scripts/simulate --seed {seed}")
            raise
    # Fewer than these, and the storm was none.
    assert befell["crashes"] > CHUNK
    for fault in ("failures", "frozen", "fenced", "states rolled back", "states lost"):
        assert befell[fault] > CHUNK // 5, befell
    for what in ("altered", "foreign", "lost records", "older log", "position lost"):
        assert befell[what], befell


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_of_the_protocol_is_told_from_it(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    seeds = survived(name, MUTANT_SEEDS)
    record_property("seeds survived", seeds)
    if seeds == MUTANT_SEEDS:
        raise Wrong(f"no seed below {MUTANT_SEEDS} tells it: scripts/simulate --mutant {name!r}")


def test_the_same_seed_is_the_same_storm() -> None:
    assert simulate(7) == simulate(7)
