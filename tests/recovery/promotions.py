"""Promotions between three versions while `run` and `backfill` are killed at random moments."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from stream_app.core.commit import Commit, Manifest
from stream_app.core.topics import Topics
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import committed
from stream_app.hosts.promoting import promote
from stream_app.hosts.registration import register
from stream_app.records import NewRecord
from stream_app.storage.sqlite_log import SqliteLog
from tests.recovery.cut_overs import differences
from tests.recovery.machine import Machine
from tests.recovery.pipelines import contest
from tests.recovery.storms import records
from tests.recovery.victims import Fork

DECLARATION = "from tests.recovery.pipelines import contest\n\npipeline = contest({})\n"
BEFORE, AFTER = ("v1", "v2"), ("v1", "v2", "v3")
STARTING_S = 0.5
WORKING_S = 0.3
STARTING_SHARE = 0.3
BACKFILLS_KILLED = 4
MOVES_WITHIN_S = 60.0
LOOK_S = 0.01


class Contest(msgspec.Struct, frozen=True):
    """What was asked for: so many kills and promotions while so many events arrive."""

    kills: int
    promotions: int
    events: int
    seed: int
    directory: Path


class Promotions:
    """One machine on which processes are killed; `run` says what became of it."""

    def __init__(self, plan: Contest) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._machine = Machine(plan.directory)
        self._file = plan.directory / "stormy_contest.py"
        self._hosted: tuple[str, ...] = BEFORE
        self._ordered = "v1"
        self._sent = 0
        self.joins_killed = 0

    def run(self) -> int:
        """Kill, promote, catch up and compare; returns the exit code."""
        plan = self._plan
        self._declare(BEFORE)
        with closing(self._machine.sqlite_log(create=True)) as log:
            manifest = register(log, contest(*BEFORE), self._machine.state.public_keys)
            rows = records(plan.events // 2, seed=plan.seed)[: plan.events]
            half = plan.kills // 2
            self._lives(log, manifest, rows[: len(rows) // 2], half, plan.promotions // 2)
            self._build(log, manifest)
            self._join(log)
            left = plan.promotions - self._sent
            self._lives(log, manifest, rows[len(rows) // 2 :], plan.kills - half, left)
        return self._verdict()

    def _declare(self, versions: tuple[str, ...]) -> None:
        text = ", ".join(f'"{version}"' for version in versions)
        self._file.write_text(DECLARATION.format(text))

    def _lives(
        self, log: SqliteLog, manifest: Manifest, rows: list[NewRecord], kills: int, orders: int
    ) -> None:
        """Spread records and orders over lives that all end by SIGKILL."""
        per_life = len(rows) // kills
        for life in range(kills):
            end = None if life == kills - 1 else (life + 1) * per_life
            share = orders * (life + 1) // kills - orders * life // kills
            self._one_life(log, manifest, rows[life * per_life : end], share)

    def _one_life(
        self, log: SqliteLog, manifest: Manifest, rows: list[NewRecord], orders: int
    ) -> None:
        """Start `run`, send it records and orders, kill it: while it starts, or at work."""
        before = self._position(log)
        works = before == 0 or self._random.random() >= STARTING_SHARE
        process = Fork(self._command("run"))
        try:
            for number in range(orders + 1):
                chunk = rows[len(rows) * number // (orders + 1) :][: len(rows) // (orders + 1) + 1]
                self._append(log, chunk)
                if number < orders:
                    self._order(log, manifest)
                self._wait(process, self._random.uniform(0, WORKING_S / (orders + 1)))
            if works:
                self._until(process, lambda: self._position(log) > before)
            self._wait(process, self._random.uniform(0.0, STARTING_S / 2))
        finally:
            process.kill()
            process.wait()

    def _append(self, log: SqliteLog, rows: list[NewRecord]) -> None:
        if rows:
            log.append(Topics("contest").events, rows)

    def _order(self, log: SqliteLog, manifest: Manifest) -> None:
        """Promote another version than the one that was promoted last."""
        if committed(log, "contest", 0) is None:
            return
        others = [version for version in self._hosted if version != self._ordered]
        self._ordered = self._random.choice(others)
        self._sent += 1
        promote(log, manifest, self._machine.state, self._ordered, f"order {self._sent}", "chaos")

    def _build(self, log: SqliteLog, manifest: Manifest) -> None:
        """Build v3 while live is at work; the first ones that try are killed."""
        process = Fork(self._command("run"))
        try:
            self._declare(AFTER)
            for number in range(BACKFILLS_KILLED):
                backfill = Fork(self._command("backfill", "v3", "--workers", "1"))
                self._wait(backfill, self._random.uniform(0.1, STARTING_S))
                backfill.kill()
                backfill.wait()
                self._say(f"backfill {number + 1} killed at {self._built(log)}")
                self._order(log, manifest)
            backfill = Fork(self._command("backfill", "v3", "--workers", "1"))
            assert backfill.wait(MOVES_WITHIN_S) == 0
        finally:
            process.kill()
            process.wait()

    def _join(self, log: SqliteLog) -> None:
        """Start until v3 is live; all of them are killed, ever later."""
        for number in range(1000):
            process = Fork(self._command("run"))
            self._wait(process, self._random.uniform(0.2, 0.5 + number * 0.1))
            process.kill()
            process.wait()
            if "v3" in self._commit(log).versions:
                break
            self.joins_killed += 1
        self._say(f"v3 is live after {self.joins_killed} kills at starts that would take it in")
        self._hosted = AFTER

    def _verdict(self) -> int:
        """Catch up, replay and compare; returns the exit code."""
        commands: list[tuple[str, ...]] = [("run", "--until-end"), ("replay",)]
        for words in commands:
            process = Fork(self._command(*words))
            code = process.wait(MOVES_WITHIN_S * 10)
            if code != 0:
                self._say(f"{words[0]} ended with exit code {code}")
                return code
        with closing(self._machine.sqlite_log()) as log:
            found = differences(log, contest(), 0, self._machine.state.seal())
            for difference in found:
                self._say(f"DIFFERENCE: {difference}")
            seats = self._commit(log).seats
            refused = sum(bool(change.refused) for change in seats)
        self._say(
            f"{self._sent} promotions, {len(seats) - refused} obeyed; "
            f"replay: no difference; {len(found)} differences"
        )
        return 1 if found or len(seats) - refused != self._sent else 0

    def _until(self, process: Fork, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + MOVES_WITHIN_S
        while not reached():
            self._wait(process, LOOK_S)
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing was committed within {MOVES_WITHIN_S:.0f} seconds")

    def _wait(self, process: Fork, seconds: float) -> None:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        if code != 0:
            raise RuntimeError(f"it ended by itself, with exit code {code}")

    def _commit(self, log: SqliteLog) -> Commit:
        commit = committed(log, "contest", 0)
        assert commit is not None
        return commit

    def _position(self, log: SqliteLog) -> int:
        commit = committed(log, "contest", 0)
        return 0 if commit is None else commit.next_offset

    def _built(self, log: SqliteLog) -> int:
        commit = built(log, "contest", "v3", 0)
        return 0 if commit is None else commit.next_offset

    def _command(self, name: str, *more: str) -> list[str]:
        command = [name, str(self._file), *more, "--broker", str(self._machine.log_path)]
        command += ["--log-level", "warning"]
        return command if name == "replay" else [*command, "--state", str(self._machine.state.root)]

    def _say(self, text: str) -> None:
        print(text, flush=True)
