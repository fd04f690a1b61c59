"""Kill -9 of `stream-app run` under load, again and again; `replay` says what it left."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from stream_app.core.commit import decode_commit
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.hosts.registration import register
from stream_app.records import NewRecord
from stream_app.storage.sqlite_log import SqliteLog
from tests.recovery.machine import Machine
from tests.recovery.pipelines import side_by_side, small
from tests.recovery.promotions import Contest, Promotions
from tests.recovery.storms import records
from tests.recovery.victims import Fork, Victim, prepare_forks

ROOT = Path(__file__).parents[2]
STARTING_SHARE = 0.3
CHUNK = 10
MOVES_WITHIN_S = 120.0


class Pace(msgspec.Struct, frozen=True):
    """How long lives are, in seconds: while they start (at most), after some progress (mean)."""

    share: float  # of the producer's time, to each life
    starting: float
    working: float
    look: float


COMMANDS = Pace(share=8.0, starting=2.5, working=0.25, look=0.02)
FORKS = Pace(share=0.6, starting=0.15, working=0.3, look=0.005)


class Plan(msgspec.Struct, frozen=True):
    """What was asked for: so many kills while so many events arrive, all by one seed.

    `forked` lives are forks of a process that has imported everything; `linear` is the one model.
    """

    kills: int
    events: int
    seed: int
    directory: Path
    forked: bool = False
    linear: bool = False

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that is killed."""
        return small() if self.linear else side_by_side

    @property
    def declaration(self) -> str:
        """What its file says."""
        name = "small" if self.linear else "side_by_side"
        made = "\npipeline = small()\n" if self.linear else "\n"
        return f"from tests.recovery.pipelines import {name}{made}"

    @property
    def pace(self) -> Pace:
        """How long lives are."""
        return FORKS if self.forked else COMMANDS


class Producer(threading.Thread):
    """Appends a few records at a time for as long as anybody is killed, then the rest at once."""

    def __init__(self, path: Path, plan: Plan, rows: list[NewRecord]) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._rows = rows
        self._events = Topics(plan.pipeline.name).events
        # Not so small that it does little else than to wait for the disk.
        self._chunk = max(CHUNK, len(rows) // (plan.kills + 1) // 10)
        self._pause_s = plan.pace.share * self._chunk * (plan.kills + 1) / len(rows)
        self._hurry = threading.Event()
        self._lives = threading.Semaphore(0)
        self._each = len(rows) // (plan.kills + 1)
        self.failure: BaseException | None = None

    def next_life(self) -> None:
        """Append another life's share: a slow machine is not to run out of events."""
        self._lives.release()

    def hurry(self) -> None:
        """Append what is left without a pause."""
        self._hurry.set()
        self._lives.release()

    def run(self) -> None:
        try:
            with closing(SqliteLog.open(self._path, create=False)) as log:
                allowed = 0
                for begin in range(0, len(self._rows), self._chunk):
                    while begin >= allowed and not self._hurry.is_set():
                        self._lives.acquire()
                        allowed += self._each
                    log.append(self._events, self._rows[begin : begin + self._chunk])
                    self._hurry.wait(self._pause_s)
        except BaseException as error:
            self.failure = error


class Chaos:
    """One machine on which processes are killed; `report` says what became of it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._machine = Machine(plan.directory)
        self._file = plan.directory / "stormy_weather.py"
        self.killed_starting = 0
        self.killed_working = 0

    def run(self) -> int:
        """Kill, catch up and replay; returns replay's exit code."""
        plan = self._plan
        self._file.write_text(plan.declaration)
        with closing(self._machine.log(create=True)) as log:
            register(log, plan.pipeline, self._machine.state.public_keys)
        rows = records(plan.events // 2, seed=plan.seed)[: plan.events]
        producer = Producer(self._machine.log_path, plan, rows)
        producer.start()
        for number in range(plan.kills):
            producer.next_life()
            self._one_life(number + 1)
        producer.hurry()
        producer.join()
        if producer.failure is not None:
            raise producer.failure
        self._say(f"{len(rows)} records are in the log; catching up")
        code = self._done("run", "--until-end")
        if code != 0:
            self._say(f"run ended with exit code {code}")
            return code
        if self._committed() != len(rows):
            self._say(f"run ended at {self._committed()}, not at {len(rows)}")
            return 1
        return self._replay()

    def _one_life(self, number: int) -> None:
        """Start `run` and kill it: while it starts, or a moment after it got something done."""
        before, pace = self._committed(), self._plan.pace
        process: Victim
        process = Fork(self._command("run")[3:]) if self._plan.forked else self._started("run")
        try:
            starting = self._random.random() < STARTING_SHARE
            if starting:
                self._wait(process, self._random.uniform(0.0, pace.starting))
            else:
                self._wait_for_progress(process, before)
                self._wait(process, self._random.expovariate(1 / pace.working))
        finally:
            process.kill()
            process.wait()
        after = self._committed()
        self.killed_starting += after == before
        self.killed_working += after != before
        self._say(f"kill {number}: process {process.pid}, committed {before} -> {after}")

    def _wait(self, process: Victim, seconds: float) -> None:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise RuntimeError(f"run ended by itself, with exit code {code}")

    def _wait_for_progress(self, process: Victim, before: int) -> None:
        deadline = time.monotonic() + MOVES_WITHIN_S
        while self._committed() == before:
            self._wait(process, self._plan.pace.look)
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing was committed within {MOVES_WITHIN_S:.0f} seconds")

    def _replay(self) -> int:
        code = self._done("replay")
        with closing(self._machine.log()) as log:
            counts = {topic: log.bounds(topic, 0)[1] for topic in sorted(log.topics())}
        for topic, count in counts.items():
            print(f"{count:>8}  {topic}")
        kills = f"{self.killed_working} kills at work, {self.killed_starting} while starting"
        verdict = "no difference" if code == 0 else f"exit code {code}"
        print(f"{kills}; replay: {verdict}", flush=True)
        return code

    def _committed(self) -> int:
        with closing(self._machine.log()) as log:
            value = log.ledger_get(Topics(self._plan.pipeline.name).ledger, 0, "commit")
        return 0 if value is None else decode_commit(value, "chaos").next_offset

    def _command(self, name: str, *more: str) -> list[str]:
        command = [sys.executable, "-m", "stream_app", name, str(self._file), *more]
        command += ["--broker", str(self._machine.log_path), "--log-level", "warning"]
        return command if name == "replay" else [*command, "--state", str(self._machine.state.root)]

    def _started(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        # What they print is for people who watch one of them; here it would drown the summary.
        return subprocess.Popen(
            self._command(name, *more),
            cwd=self._plan.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )

    def _done(self, name: str, *more: str) -> int:
        return self._started(name, *more).wait()

    def _say(self, text: str) -> None:
        print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, make a place, run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="how many processes (25)")
    parser.add_argument("--events", type=int, default=20_000, help="how many records (20000)")
    parser.add_argument("--seed", type=int, default=1, help="decides events and moments (1)")
    parser.add_argument("--forked", action="store_true", help="lives are forks: 20 times as many")
    parser.add_argument("--linear", action="store_true", help="one linear model, not three models")
    parser.add_argument("--promotions", type=int, help="so many, of three versions; forks alone")
    parser.add_argument("--directory", type=Path, help="an empty one, kept; default: a temporary")
    chosen = parser.parse_args(arguments)
    if chosen.forked or chosen.promotions:
        prepare_forks()
    if chosen.directory is not None:
        chosen.directory.mkdir(parents=True)
        return _run(chosen, chosen.directory.resolve())
    with tempfile.TemporaryDirectory(prefix="stream-app-chaos-") as directory:
        return _run(chosen, Path(directory))


def _run(chosen: argparse.Namespace, directory: Path) -> int:
    kills, events, seed = chosen.kills, chosen.events, chosen.seed
    if chosen.promotions:
        return Promotions(Contest(kills, chosen.promotions, events, seed, directory)).run()
    return Chaos(Plan(kills, events, seed, directory, chosen.forked, chosen.linear)).run()


if __name__ == "__main__":
    sys.exit(main())
