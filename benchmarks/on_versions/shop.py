"""A pipeline of the benchmark's model in a folder, driven by the commands that people use."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from on_one_machine.ground import load
from peers.work import Example, metric, model

from stream_app.codec.encode import encode_event
from stream_app.events import Observation
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory

PROGRAM = str(Path(sys.executable).with_name("stream-app"))
DECLARED = """
import sys
sys.path.insert(0, {here!r})
from peers.work import FEATURES, metric, model
from stream_app import Binary, Keep, Pipeline, Version

pipeline = Pipeline(
    "bench",
    model_per="partition",
    task=Binary(),
    features={{f"f{{i}}": float for i in range(FEATURES)}},
    metrics=metric(),
    versions={{name: Version(model()) for name in {versions!r}}},
    initial_champion="v1",
    checkpoints=Keep(records={keep}),
)
"""
T0 = 1_700_000_000_000
KEEP = 100_000  # the default of `Keep`
APPENDED = 5000
NO_STATE = ("compare", "consume", "topics")


def event(number: int, row: Example) -> Observation:
    """Return the event of an example, its label with it."""
    features, label = row
    return Observation(f"id-{number}", T0 + number, features, label=label)


class Shop:
    """A pipeline's file and state in a folder, and a log: there too, or at a broker."""

    def __init__(self, folder: Path, keep: int = KEEP, broker: str | None = None) -> None:
        self.folder = folder
        self.broker = broker or str(folder / "log.db")
        self._keep = keep
        self.declare("v1")

    def declare(self, *versions: str) -> None:
        """Write the declaration."""
        here = str(Path(__file__).parents[1])
        text = DECLARED.format(here=here, versions=versions, keep=self._keep)
        (self.folder / "bench.py").write_text(text)

    def fill(self, rows: Iterable[Example], partitions: int = 1) -> None:
        """Make the log and append every example, its label with it."""
        log = open_broker(self.broker, create=True)
        state = StateDirectory(self.folder / "state")
        declared = load_pipeline(str(self.folder / "bench.py"))
        register(log, declared, state.public_keys, partitions=partitions)
        feed, first = iter(rows), 0
        while batch := list(islice(feed, APPENDED)):
            log.append(
                "bench.events",
                [encode_event(event(first + i, row)) for i, row in enumerate(batch)],
            )
            first += len(batch)
        log.close()
        del sys.modules["bench"]

    def command(self, *arguments: str) -> list[str]:
        """Return a command's line, with the log's place and where it wants that the state's."""
        whole = [PROGRAM, *arguments, "--broker", self.broker]
        if arguments[0] not in NO_STATE:
            whole += ["--state", str(self.folder / "state")]
        return whole

    def call(self, *arguments: str) -> float:
        """Run a command; returns its seconds."""
        began = time.perf_counter()
        subprocess.run(self.command(*arguments), cwd=self.folder, check=True, capture_output=True)
        return time.perf_counter() - began


def bare_s(rows: list[Example]) -> float:
    """Return the seconds of River's own loop."""
    learner, score = model(), metric()
    began = time.perf_counter()
    for x, y in rows:
        score.update(y, learner.predict_proba_one(x))
        learner.learn_one(x, y)
    return time.perf_counter() - began


def told(what: str, seen: float, target: float, unit: str = "x", *, most: bool = False) -> bool:
    """Print a row; returns whether its target is met."""
    met = seen <= target if most else seen >= target
    sign = "at most" if most else "at least"
    verdict = "" if met else ": MISSED"
    print(f"  {what:58}{seen:8.2f} {unit}  ({sign} {target:g}{verdict}); {load()}", flush=True)
    return met
