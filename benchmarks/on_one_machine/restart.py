"""From kill -9 to the first new prediction, with few and with a million waiting observations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from on_one_machine.ground import Ground, load, resident_mb
from stream_app import Observation
from stream_app.cli import demo_pipeline
from stream_app.core.log import Log
from stream_app.datasets.flights import FLIGHTS_FEATURES
from stream_app.events import Event
from stream_app.hosts.pipeline_file import load_pipeline

TARGET_S = 2.0
T0 = 1_356_998_400_000
PATIENCE_S = 120.0
PREDICTIONS = "flights.predictions"


def flights(first: int) -> Iterator[Event]:
    """Yield observations of the demo's kind, ten milliseconds apart."""
    for i in count(first):
        features: dict[str, Any] = {
            name: "AA" if kind is str else ((i * 7 + n) % 100 if kind is int else float(i % 50))
            for n, (name, kind) in enumerate(FLIGHTS_FEATURES.items())
        }
        yield Observation(f"flight-{i}", T0 + 10 * i, features, key="EWR")


def file_of(folder: Path, waiting: int) -> Path:
    """Return the demo's pipeline in a file of its own, which lets so many wait."""
    text = Path(demo_pipeline.__file__).read_text()
    file = folder / f"flights_{waiting}.py"  # a module of its own in this process
    file.write_text(text.replace("Limits(", f"Limits(ids_max={waiting + 100_000}, "))
    return file


class Runner:
    """`stream-app run`, as a process that is killed."""

    def __init__(self, folder: Path, file: Path) -> None:
        program = Path(sys.executable).with_name("stream-app")
        places = ["--broker", str(folder / "log.db"), "--state", str(folder / "state")]
        command = [str(program), "run", str(file), *places]
        # Compiled modules as an installation has them; the first start writes them.
        surroundings = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        surroundings.pop("PYTHONDONTWRITEBYTECODE", None)
        with (folder / "run.log").open("ab") as said:
            self.process = subprocess.Popen(command, stderr=said, stdout=said, env=surroundings)

    def cpu_s(self) -> float:
        """Return the CPU time that it took so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill it as nobody would."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def prediction(log: Log, after: int) -> None:
    """Wait until there are more predictions."""
    until = time.monotonic() + PATIENCE_S
    while log.bounds(PREDICTIONS, 0)[1] <= after:
        if time.monotonic() > until:
            raise TimeoutError("there was no prediction")
        time.sleep(0.005)


def feed_for(ground: Ground, feed: Iterator[Event], seconds: float, rate: int) -> None:
    """Append so many events a second; 0: as many as can be."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ground.append(feed, rate // 20 or 5000)
        time.sleep(0.05 if rate else 0)


def one_kill(ground: Ground, file: Path, feed: Iterator[Event], rate: int, seconds: float) -> float:
    """Return the seconds from the kill to a new prediction."""
    log = ground.log
    before = log.bounds(PREDICTIONS, 0)[1]
    ground.append(feed, 1)
    runner = Runner(ground.folder, file)
    prediction(log, before)
    feed_for(ground, feed, seconds, rate)
    runner.kill()
    began = time.monotonic()
    before = log.bounds(PREDICTIONS, 0)[1]
    ground.append(feed, 1)
    runner = Runner(ground.folder, file)
    prediction(log, before)
    took = time.monotonic() - began
    cpu, memory = runner.cpu_s(), resident_mb(runner.process.pid)
    runner.kill()
    print(
        f"    {took:5.2f} s, of CPU {cpu:5.2f} s   {rate or 'full'} events/s for {seconds:.1f} s "
        f"before it, {memory:.0f} MB resident, {load()}",
        flush=True,
    )
    return took


def measure(waiting: int, kills: int) -> bool:
    """Print the rows of so many waiting observations; tells whether the target was met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = file_of(folder, waiting)
        ground = Ground(folder, load_pipeline(str(file)))
        feed = flights(0)
        host = ground.open()
        for _ in range(max(1, waiting // 100_000)):
            ground.append(feed, min(waiting, 100_000))
            ground.step_through()
        host.finish()
        waits = host.processor.acceptance.ids.waiting
        host.close()
        print(f"  {waits} wait", flush=True)
        seen = []
        for number in range(kills):
            rate = 0 if number % 3 == 2 else 1000
            seen.append(one_kill(ground, file, feed, rate, 1.0 + 1.3 * number))
        ground.host = None
        ground.close()
    print(f"  worst {max(seen):.2f} s, target {TARGET_S} s")
    return max(seen) <= TARGET_S


def main(kills: int) -> bool:
    """Print both rows."""
    met = [measure(waiting, kills) for waiting in (1000, 1_000_000)]
    return all(met)
