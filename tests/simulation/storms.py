"""Many seeds, one after the other or on all cores; which seed first tells a mutant."""

from __future__ import annotations

import argparse
import difflib
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.seeds import simulate, versions_move
from tests.simulation.version_mutants import MUTANTS, VERSION_MUTANTS

REPORT_EVERY_S = 10.0


# Threads of whoever asks are not to be forked.
_CONTEXT = multiprocessing.get_context("forkserver")


def storms(seeds: range) -> Iterator[tuple[int, Counter[str] | str]]:
    """Yield each seed with what befell it, or what was wrong, from all cores."""
    with ProcessPoolExecutor(os.cpu_count(), _CONTEXT) as pool:
        yield from pool.map(_one, seeds, chunksize=20)


def survivals(names: Sequence[str], seeds: int) -> Iterator[tuple[str, int]]:
    """Yield each mutant with the seeds that it survived, from all cores."""
    with ProcessPoolExecutor(os.cpu_count(), _CONTEXT) as pool:
        yield from zip(names, pool.map(survived, names, [seeds] * len(names)), strict=True)


def survived(name: str, seeds: int) -> int:
    """Return how many seeds from 0 on do not tell a mutant from the real thing."""
    for seed in range(seeds):
        if name in VERSION_MUTANTS and not versions_move(seed):
            continue  # it has nothing to break there, or little
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            try:
                simulate(seed)
            except Exception:
                return seed
    return seeds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns 3 when a difference was found."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many (2000)")
    parser.add_argument("--start", type=int, default=0, help="the first one (0)")
    parser.add_argument("--seed", type=int, help="this one, with its traceback")
    parser.add_argument("--mutants", action="store_true", help="how many seeds each one survives")
    parser.add_argument("--mutant", help="the same for one of them")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        print(_told(simulate(chosen.seed)))
        return 0
    if chosen.mutant and chosen.mutant not in MUTANTS:
        near = difflib.get_close_matches(chosen.mutant.replace("_", " "), MUTANTS, 3)
        parser.error(f"no mutant is called {chosen.mutant!r}; near to it: {near}")
    if chosen.mutants or chosen.mutant:
        return _mutants([chosen.mutant] if chosen.mutant else list(MUTANTS), chosen.seeds)
    return _storms(range(chosen.start, chosen.start + chosen.seeds))


def _storms(seeds: range) -> int:
    befell: Counter[str] = Counter()
    began = said = time.monotonic()
    wrong = 0
    for number, (seed, found) in enumerate(storms(seeds), 1):
        if isinstance(found, str):
            wrong += 1
            print(f"seed {seed}: {found}", flush=True)
        else:
            befell += found
        if time.monotonic() - said > REPORT_EVERY_S:
            said = time.monotonic()
            rate = number / (said - began)
            left = (len(seeds) - number) / rate
            print(f"{number} seeds, {rate:.0f}/s, {left:.0f} s left", flush=True)
    print(f"{len(seeds)} seeds in {time.monotonic() - began:.0f} s: {_told(befell)}")
    print(f"{wrong} of them differ" if wrong else "no difference")
    return 3 if wrong else 0


def _one(seed: int) -> tuple[int, Counter[str] | str]:
    try:
        return seed, simulate(seed)
    except Exception as error:
        return seed, traceback.format_exception_only(error)[-1].strip()[:500]


def _mutants(names: Sequence[str], seeds: int) -> int:
    alive = 0
    print("SEEDS SURVIVED  MUTANT")
    for name, count in survivals(names, seeds):
        alive += count == seeds
        print(f"{count:14}  {name}{'  (all of them)' if count == seeds else ''}", flush=True)
    return 3 if alive else 0


def _told(befell: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(befell.items()))


if __name__ == "__main__":
    sys.exit(main())
