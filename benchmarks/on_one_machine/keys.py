"""A model for each of a million keys beside a thousand: memory, speed, checkpoints, restart."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from on_one_machine.ground import Clock, Ground, Never, bytes_below, load, resident_mb
from on_one_machine.traffic import each_once, inline, pipeline, uniform, zipf

FEW = 1000
MEMORY_MAX_MB = 1000
SHARES = {"zipf": 0.5, "uniform": 0.2}
RESTART_MAX_S = 2.0
COUNT = 30_000
DRAWS: dict[str, Callable[[int], Callable[[], str]]] = {"zipf": zipf, "uniform": uniform}


def swept(folder: Path, keys: int, chunk: int = 50_000) -> tuple[Ground, float]:
    """Return a ground whose every key has a model, and the most memory it took."""
    folder.mkdir()
    ground = Ground(folder, pipeline(model_per="key"))
    ground.open()
    feed = inline(each_once())
    most = 0.0
    began = time.monotonic()
    for done in range(0, keys, chunk):
        ground.append(feed, min(chunk, keys - done))
        ground.step_through()
        most = max(most, resident_mb())
    state = bytes_below(ground.directory) / 1e6
    print(
        f"  {keys} keys: {(time.monotonic() - began) / keys * 1e6:.0f} µs for a new key, at "
        f"most {most:.0f} MB resident, state {state:.0f} MB, {load()}",
        flush=True,
    )
    return ground, most


def one_round(grounds: dict[int, Ground], draw: str, number: int) -> dict[int, Clock]:
    """Return the times of the same number of events on each, in turns."""
    clocks = {}
    for keys in sorted(grounds, reverse=bool(number % 2)):
        first = 10_000_000 * (number + 1) + (5_000_000 if draw == "zipf" else 0)
        grounds[keys].append(inline(DRAWS[draw](keys), first), COUNT)
        clocks[keys] = grounds[keys].step_through()
    return clocks


def throughput(grounds: dict[int, Ground], draw: str, rounds: int) -> bool:
    """Print how fast many keys are beside few."""
    seen = [one_round(grounds, draw, number) for number in range(rounds)]
    many = max(grounds)
    wall, cpu = (statistics.median(s[FEW][i] / s[many][i] for s in seen) for i in (0, 1))
    micros = {k: statistics.median(s[k].cpu for s in seen) / COUNT * 1e6 for k in grounds}
    print(
        f"  {draw:8} {wall:.2f} x the throughput of {FEW} keys (CPU {cpu:.2f}; {micros[FEW]:.0f} "
        f"and {micros[many]:.0f} µs an event), target {SHARES[draw]}, {load()}",
        flush=True,
    )
    return cpu >= SHARES[draw]


def checkpoints(ground: Ground, keys: int) -> None:
    """Print what a checkpoint costs after so many keys changed."""
    assert ground.host is not None
    ground.host.close()
    host = ground.open(Never())  # ten thousand changes take longer than checkpoints are apart
    for changed in (10, 100, 1000, 10_000):
        host.checkpoint()
        ground.append(inline(each_once(keys // 2), 200_000_000 + changed), changed)
        while host.step(records_max=1000):
            pass
        began, cpu = time.perf_counter(), time.process_time()
        host.checkpoint()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(
            f"  checkpoint of {changed:6} changed keys: {wall * 1e3:7.1f} ms (CPU {cpu * 1e3:.1f})"
        )


def restart(ground: Ground, *, orderly: bool) -> float:
    """Return the seconds from opening the state to a prediction, imports not included."""
    assert ground.host is not None
    if orderly:
        ground.host.finish()
    ground.host.close()
    ground.append(inline(each_once(), 300_000_000 + orderly), 1)
    began, cpu = time.perf_counter(), time.process_time()
    host = ground.open()
    behind = host.committed - host.next_offset
    while host.relearning:
        host.step()
    host.step(records_max=1)
    took = time.perf_counter() - began
    print(
        f"  restart {'in order' if orderly else 'after a kill'}: {took:.2f} s (CPU "
        f"{time.process_time() - cpu:.2f} s), {behind} records learned again, {load()}",
        flush=True,
    )
    return took


def main(keys: int, rounds: int) -> bool:
    """Print all of it; tells whether every target was met."""
    with tempfile.TemporaryDirectory() as name:
        many, most = swept(Path(name) / "many", keys)
        met = most <= MEMORY_MAX_MB
        few, _ = swept(Path(name) / "few", FEW)
        grounds = {FEW: few, keys: many}
        met = all(tuple(throughput(grounds, draw, rounds) for draw in DRAWS)) and met
        print(f"  at most {MEMORY_MAX_MB} MB resident; now {resident_mb():.0f} MB")
        met = restart(many, orderly=False) <= RESTART_MAX_S and met
        met = restart(many, orderly=True) <= RESTART_MAX_S and met
        checkpoints(many, keys)
        few.close()
        many.close()
    return met
