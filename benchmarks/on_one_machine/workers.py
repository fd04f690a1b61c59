"""Two workers on two partitions, beside one on both."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from on_one_machine.ground import load, records
from on_one_machine.traffic import inline
from stream_app.codec.partitioning import partition_of
from stream_app.core.log import Log
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory

TARGET = 1.7
COUNT = 120_000
FILE = """
from peers.work import FEATURES, metric, model
from stream_app import Binary, Pipeline, Version
pipeline = Pipeline(
    "shared", task=Binary(), model_per="partition", metrics=metric(),
    features={f"f{i}": float for i in range(FEATURES)}, versions={"v1": Version(model())},
)
"""


def filled(folder: Path) -> Path:
    """Make a log of two partitions with as many events in each; returns the pipeline's file."""
    file = folder / "shared.py"
    file.write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{FILE}")
    log = open_broker(str(folder / "log.db"), create=True)
    state = StateDirectory(folder / "state")
    register(log, load_pipeline(str(file)), state.public_keys, partitions=2)
    named = {partition_of(f"{n}".encode(), 2): f"{n}" for n in range(20)}
    keys = cycle([named[0], named[1]])
    feed = records(islice(inline(lambda: next(keys)), COUNT))
    while batch := list(islice(feed, 5000)):
        log.append("shared.events", batch)
    halves = [log.bounds("shared.events", partition)[1] for partition in (0, 1)]
    log.close()
    assert halves == [COUNT // 2] * 2, halves
    return file


def predicted(log: Log) -> int:
    """Return how many predictions there are."""
    return sum(log.bounds("shared.predictions", partition)[1] for partition in (0, 1))


def one_run(folder: Path, file: Path, workers: int) -> float:
    """Return events per second from the first prediction on."""
    program = str(Path(sys.executable).with_name("stream-app"))
    broker, state = str(folder / "log.db"), str(folder / "state")
    command = [program, "run", str(file), "--broker", broker, "--state", state, "--until-end"]
    log = open_broker(broker, read_only=True)
    with subprocess.Popen(
        [*command, "--workers", str(workers)], stderr=subprocess.DEVNULL
    ) as process:
        while not (seen := predicted(log)):
            time.sleep(0.005)
        began = time.monotonic()
        while (now := predicted(log)) < COUNT and process.poll() is None:
            time.sleep(0.005)
        rate = (now - seen) / (time.monotonic() - began)
        process.wait()
    log.close()
    return rate


def main(rounds: int) -> bool:
    """Print the row; tells whether the target was met."""
    with tempfile.TemporaryDirectory() as name:
        origin = Path(name) / "origin"
        origin.mkdir()
        filled(origin)
        ratios = []
        for number in range(rounds):
            seen = {}
            for workers in (1, 2) if number % 2 else (2, 1):
                folder = Path(name) / f"{number}-{workers}"
                shutil.copytree(origin, folder)
                seen[workers] = one_run(folder, folder / "shared.py", workers)
                shutil.rmtree(folder)
            ratios.append(seen[2] / seen[1])
            print(
                f"  {ratios[-1]:.2f} x: {seen[1]:.0f} and {seen[2]:.0f} events/s, "
                f"{os.cpu_count()} cores, {load()}",
                flush=True,
            )
    print(f"  median {statistics.median(ratios):.2f}, target {TARGET}")
    return statistics.median(ratios) >= TARGET
