"""What checkpoints cost: the same events with them and without, in turns."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from on_one_machine.ground import Clock, Ground, Never, load
from on_one_machine.traffic import inline, pipeline

TARGETS = {"scaler|logreg": 0.05, "HoeffdingTree": 0.05, "ARF(10)": 0.10}
EVENTS = {"scaler|logreg": 60_000, "HoeffdingTree": 40_000, "ARF(10)": 4_000}


class Pair:
    """Two hosts that learn the same, one with checkpoints as `run` makes them and one without."""

    def __init__(self, folder: Path, name: str) -> None:
        self.grounds = [Ground(folder / side, pipeline(name)) for side in ("with", "without")]
        self.grounds[0].open()
        self.grounds[1].open(pace=Never())
        self._feeds = [inline(), inline()]

    def round(self, count: int, number: int) -> tuple[Clock, Clock]:
        """Return the times with and without of the next `count` events; who begins changes."""
        clocks: dict[int, Clock] = {}
        for i in (0, 1) if number % 2 else (1, 0):
            self.grounds[i].append(self._feeds[i], count)
            clocks[i] = self.grounds[i].step_through()
        return clocks[0], clocks[1]

    def close(self) -> None:
        """Let go of both."""
        for ground in self.grounds:
            ground.close()


def measure(name: str, rounds: int) -> bool:
    """Print a model's row; tells whether the target was met."""
    count = EVENTS[name]
    with tempfile.TemporaryDirectory() as folder:
        for side in ("with", "without"):
            (Path(folder) / side).mkdir()
        pair = Pair(Path(folder), name)
        pair.round(count // 2, 0)  # warm: the forest has grown, caches are full
        seen = [pair.round(count, number) for number in range(rounds)]
        host = pair.grounds[0].host
        assert host is not None
        saves = host.work.figures().checkpoint
        size = host.work.figures().saved_bytes or 0
        pair.close()
    wall, cpu = (statistics.median(a[i] / b[i] - 1 for a, b in seen) for i in (0, 1))
    whole = [sum(a[i] for a, _ in seen) / sum(b[i] for _, b in seen) - 1 for i in (0, 1)]
    print(
        f"{name:14} wall {wall:+6.1%} (in all {whole[0]:+6.1%})  CPU {cpu:+6.1%} (in all "
        f"{whole[1]:+6.1%})  target {TARGETS[name]:.0%}   {sum(saves.counts)} checkpoints of "
        f"{saves.sum_s / max(1, sum(saves.counts)) * 1e3:.1f} ms, state {size / 1e6:.1f} MB, "
        f"{rounds} rounds of {count} events, {load()}"
    )
    return whole[1] <= TARGETS[name]


def main(rounds: int) -> bool:
    """Print all rows."""
    met = [measure(name, rounds) for name in TARGETS]
    return all(met)
