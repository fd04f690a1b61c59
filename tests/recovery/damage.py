"""Damage to every file of a machine, by a seed: an error with a way out, or results as ever."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.recovery.damage_cases import Damage, damage
from tests.recovery.damage_machines import Moment, moments
from tests.recovery.damage_verdict import FAILED, Trial, Verdict
from tests.recovery.forks import import_all

DECLARATION = "from tests.recovery.pipelines import small\n\npipeline = small()\n"
FAILURES_SHOWN_MAX = 20
SAID_EVERY_S = 30.0


class Cases:
    """Cases of one seed below a directory, and what became of them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._file = folder / "small_weather.py"
        self._file.write_text(DECLARATION)
        self._moments: list[Moment] = moments(folder)
        self.came_to: Counter[tuple[str, str]] = Counter()
        self.failures: list[int] = []

    def run(self, number: int, *, shown: bool = False) -> None:
        """Damage a machine as this number says, and judge."""
        rng = random.Random(f"{self._seed}/{number}")
        moment = rng.choice(self._moments)
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            machine = moment.machine.copy(Path(place) / "machine")
            damages = damage(rng, machine, moment.before)
            verdict = Trial(moment, machine, damages, self._file).verdict()
        self.came_to[_kind(damages), verdict.came_to] += 1
        if verdict.came_to == FAILED:
            self.failures.append(number)
        if shown or verdict.came_to == FAILED:
            self._show(number, moment, damages, verdict)

    def _show(self, number: int, moment: Moment, damages: list[Damage], verdict: Verdict) -> None:
        done = "; ".join(f"{damage.place}: {damage.done}" for damage in damages)
        print(f"case {number} ({moment.name}): {done}: {verdict.came_to} {verdict.error}")
        if verdict.why:
            print(f"    {verdict.why}")
            print(f"    again: scripts/damage --seed {self._seed} --case {number}", flush=True)


def _kind(damages: list[Damage]) -> str:
    return damages[0].kind if len(damages) == 1 else "two places"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, make the machines, run the cases; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/damage", description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="how many (300)")
    parser.add_argument("--seed", type=int, default=1, help="decides what is damaged how (1)")
    parser.add_argument("--minutes", type=float, default=600, help="end after so many (600)")
    parser.add_argument("--case", type=int, help="this one alone, and say what it did")
    parser.add_argument("--directory", type=Path, help="where to work; default: a temporary one")
    chosen = parser.parse_args(arguments)
    import_all()
    with tempfile.TemporaryDirectory(prefix="stream-app-damage-", dir=chosen.directory) as folder:
        cases = Cases(Path(folder).resolve(), chosen.seed)
        if chosen.case is not None:
            cases.run(chosen.case, shown=True)
        else:
            _run(cases, chosen.cases, time.monotonic() + chosen.minutes * 60)
        return 1 if cases.failures else 0


def _run(cases: Cases, count: int, deadline: float) -> None:
    said = time.monotonic()
    for number in range(1, count + 1):
        cases.run(number)
        if time.monotonic() - said > SAID_EVERY_S:
            said = time.monotonic()
            print(f"{number} of {count} cases", flush=True)
        if len(cases.failures) >= FAILURES_SHOWN_MAX or time.monotonic() > deadline:
            print(f"ended after {number} of {count} cases, with {len(cases.failures)} failures")
            break
    _summarize(cases.came_to)


def _summarize(came_to: Counter[tuple[str, str]]) -> None:
    columns = sorted({verdict for _, verdict in came_to})
    kinds = sorted({kind for kind, _ in came_to})
    for verdict in columns:
        rows = [(kind, came_to[kind, verdict]) for kind in kinds if came_to[kind, verdict]]
        print(f"{sum(n for _, n in rows):>6}  {verdict}")
        print("        " + ", ".join(f"{n} {kind}" for kind, n in rows))
    failed = sum(count for (_, verdict), count in came_to.items() if verdict == FAILED)
    print(f"{came_to.total()} cases, {failed} failed")


if __name__ == "__main__":
    sys.exit(main())
