"""Does the memory of a running host grow? The slope, in MB for each million events.

    .venv/bin/python benchmarks/soak.py --events 5000000
    .venv/bin/python benchmarks/soak.py --hours 8 --retain

One process appends events and learns from them, with the loop of `run`: labels that come late,
early, twice and never, records that are no events, ids that come again (`mixed` in
`on_one_machine/traffic.py`). A line for at most 250,000 events; the slope is that of the
least squares after the warm-up. `--retain` deletes records that were processed, so that a long soak
needs no large disk. Exit code 1: it grew by more than 20 MB for 5 million events.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from on_one_machine.ground import Ground, bytes_below, files_open, load, resident_mb
from on_one_machine.traffic import mixed, pipeline

from stream_app.hosts.embedded import run_hosts

CHUNK = 20_000
LINE_EVERY_MAX = 250_000
SLOPE_MAX = 4.0  # MB for each million events: 20 MB for 5 million
Point = tuple[float, float]  # millions of events, MB


class Soak:
    """Gives the host events whenever it has none left, and looks at the memory."""

    def __init__(self, ground: Ground, events: float, seconds: float, retain: bool) -> None:
        self._ground = ground
        self._feed = mixed()
        self._events, self._retain = events, retain
        self._until = time.monotonic() + seconds
        self._next_line = 0.0
        self._line_every = min(LINE_EVERY_MAX, events / 20)
        self.points: list[Point] = []

    def stopped(self) -> bool:
        """Feed the host; True when it had enough."""
        host, log, topic = self._ground.host, self._ground.log, self._ground.events
        assert host is not None
        done = host.next_offset
        if done >= self._next_line:
            self._next_line += self._line_every
            self._line(done)
        if done >= self._events or time.monotonic() >= self._until:
            return True
        if log.bounds(topic, 0)[1] - done < 1000:
            self._ground.append(self._feed, CHUNK)
            if self._retain:
                self._delete(done)
        return False

    def _line(self, done: int) -> None:
        memory = resident_mb()
        self.points.append((done / 1e6, memory))
        state = bytes_below(self._ground.directory) / 1e6
        use = self._ground.log.disk_use()
        log = (use.total if use is not None else 0) / 1e6
        print(
            f"{done:>12,} events  {memory:8.1f} MB resident  {len(gc.get_objects()):>9,} objects"
            f"  {files_open():>4} files  state {state:7.1f} MB  log {log:9.1f} MB  {load()}",
            flush=True,
        )

    def _delete(self, done: int) -> None:
        log: Any = self._ground.log
        log.retain(self._ground.events, 0, from_offset=done)
        for topic in self._ground.log.topics():
            if topic != self._ground.events:
                log.retain(topic, 0, from_offset=self._ground.log.bounds(topic, 0)[1])


def slope(points: list[Point]) -> float:
    """Return the slope of the least squares."""
    n = len(points)
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def main() -> None:
    """Soak, and say what grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=float, default=float("inf"))
    parser.add_argument("--hours", type=float, default=float("inf"))
    parser.add_argument("--retain", action="store_true")
    parser.add_argument("--warm-up", type=float, default=1e6, metavar="EVENTS")
    options = parser.parse_args()
    if options.events == options.hours == float("inf"):
        options.events = 5e6
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder), pipeline())
        ground.open()
        soak = Soak(ground, options.events, options.hours * 3600, options.retain)
        run_until_stopped(ground, soak)
        ground.close()
    warm = [point for point in soak.points if point[0] * 1e6 >= options.warm_up]
    if len(warm) < 3:
        sys.exit("too few events after the warm-up to say anything")
    grew = slope(warm)
    print(f"{grew:+.2f} MB for each million events after the warm-up (target: {SLOPE_MAX})")
    print(f"from {warm[0][1]:.1f} to {warm[-1][1]:.1f} MB, at most {max(y for _, y in warm):.1f}")
    sys.exit(1 if grew > SLOPE_MAX else 0)


def run_until_stopped(ground: Ground, soak: Soak) -> None:
    """Run the host's loop with no end of its own."""
    assert ground.host is not None
    run_hosts(ground.log, ground.declared, [ground.host], stopped=soak.stopped)


if __name__ == "__main__":
    main()
