"""What backfills, replays in pieces, joins and explanations cost.

    .venv/bin/python benchmarks/versions.py [ROW ...] [--events N]     # all rows, or some

Ratios within one run; each row says what it saw, its target, and how busy the machine was. Exit
code 1: a target was missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from on_one_machine.ground import load
from peers.work import FEATURES, Example, examples, metric, model

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


class Shop:
    """A pipeline's file, log and state in a folder, driven by its commands."""

    def __init__(self, folder: Path, keep: int = 100_000) -> None:
        self.folder = folder
        self._keep = keep
        self.declare("v1")

    def declare(self, *versions: str) -> None:
        """Write the declaration."""
        text = DECLARED.format(here=str(Path(__file__).parent), versions=versions, keep=self._keep)
        (self.folder / "bench.py").write_text(text)

    def fill(self, rows: list[Example], partitions: int = 1) -> None:
        """Make the log and append every example, its label with it."""
        log = open_broker(str(self.folder / "log.db"), create=True)
        state = StateDirectory(self.folder / "state")
        register(
            log,
            load_pipeline(str(self.folder / "bench.py")),
            state.public_keys,
            partitions=partitions,
        )
        for first in range(0, len(rows), 5000):
            batch = [
                encode_event(Observation(f"id-{first + i}", T0 + first + i, x, label=y))
                for i, (x, y) in enumerate(rows[first : first + 5000])
            ]
            log.append("bench.events", batch)
        log.close()
        del sys.modules["bench"]

    def call(self, *arguments: str) -> float:
        """Run a command; returns its seconds."""
        command = [PROGRAM, *arguments, "--broker", str(self.folder / "log.db")]
        if arguments[0] not in ("compare", "consume"):
            command += ["--state", str(self.folder / "state")]
        began = time.perf_counter()
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return time.perf_counter() - began


def bare_s(rows: list[Example]) -> float:
    """Return the seconds of River's own loop."""
    learner, score = model(), metric()
    began = time.perf_counter()
    for x, y in rows:
        score.update(y, learner.predict_proba_one(x))  # type: ignore[attr-defined]
        learner.learn_one(x, y)  # type: ignore[attr-defined]
    return time.perf_counter() - began


def told(what: str, seen: float, target: float, unit: str = "x", *, most: bool = False) -> bool:
    """Print a row; returns whether its target is met."""
    met = seen <= target if most else seen >= target
    sign = "at most" if most else "at least"
    verdict = "" if met else ": MISSED"
    print(f"  {what:58}{seen:8.2f} {unit}  ({sign} {target:g}{verdict}); {load()}", flush=True)
    return met


def speed(count: int) -> bool:
    """Time a backfill, River's bare loop and live; start-up is measured and taken off."""
    rows = examples(count)
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            shop.fill(rows)
            live = shop.call("run", "bench.py", "--until-end")
            idle = shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2")
            built = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            again = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            seen.append((bare_s(rows), live - idle, built - again))
    against_bare = statistics.median(bare / built for bare, _, built in seen)
    against_live = statistics.median(live / built for _, live, built in seen)
    one = told("backfill, times River's bare loop", against_bare, 0.75)
    return told("backfill, times live on the same log", against_live, 1.2) and one


def processes(count: int) -> bool:
    """Time two processes on two partitions, and one."""
    rows = examples(count)
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            shop.fill(rows, partitions=2)
            shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2", "v3")
            one = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            idle = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            two = shop.call("backfill", "bench.py", "v3", "--workers", "2")
            idle_two = shop.call("backfill", "bench.py", "v3", "--workers", "2")
            seen.append((one - idle) / (two - idle_two))
    return told("backfill by two processes, times by one", statistics.median(seen), 1.8)


def pieces(count: int) -> bool:
    """Time a replay in pieces by two processes, and one fold."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), keep=count // 8)
        shop.fill(examples(count))
        shop.call("run", "bench.py", "--until-end")
        for _ in range(3):
            one = shop.call("replay", "bench.py")
            two = shop.call("replay", "bench.py", "--workers", "2")
            seen.append(one / two)
    return told("replay in pieces by two processes, times one fold", statistics.median(seen), 1.6)


def joining(count: int) -> bool:
    """Time what a join adds to a start."""
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            shop.fill(examples(count))
            shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2")
            shop.call("backfill", "bench.py", "v2")
            joins = shop.call("run", "bench.py", "--until-end")
            seen.append(joins - shop.call("run", "bench.py", "--until-end"))
    return told("a join, beyond a start without one", statistics.median(seen), 2.0, "s", most=True)


def explaining(count: int) -> bool:
    """Time explanations by position, here and there in the log."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        shop.fill(examples(count))
        shop.call("run", "bench.py", "--until-end")
        for part in (0.03, 0.26, 0.51, 0.77, 0.99):
            seen.append(shop.call("explain", "bench.py", f"0@{int(count * part)}"))
    what = f"explain by position, slowest of five in {count:,} records"
    return told(what, max(seen), 5.0, "s", most=True)


ROWS: dict[str, tuple[int, Callable[[int], bool]]] = {
    "speed": (200_000, speed),
    "processes": (200_000, processes),
    "pieces": (400_000, pieces),
    "joining": (50_000, joining),
    "explaining": (1_000_000, explaining),
}


def main() -> None:
    """Run the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW")
    parser.add_argument("--events", type=int)
    options = parser.parse_args()
    print(f"{FEATURES} features, scaler|logreg, one model in each partition")
    missed = []
    for row in options.rows or ROWS:
        count, measure = ROWS[row]
        if not measure(options.events or count):
            missed.append(row)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
