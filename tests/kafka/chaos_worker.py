"""One worker of the chaos: the real command, life after life, and what it said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from stream_app.storage.key_files import load_or_create_seal_key

ROOT = Path(__file__).parents[2]
# By a named error of its own: the broker or another worker was in its way.
MAY_END_WITH = (1, 4)
ENDS_WITHIN_S = 100.0
DUMP_WITHIN_S = 10.0
TAIL = 60


class ChaosFailure(Exception):
    """What must not happen, with what was said about it."""


class Worker:
    """`stream-app run` under one name, in one state directory; started and ended by id only."""

    def __init__(self, name: str, file: Path, broker: str, state: Path, logs: Path) -> None:
        self.name = name
        self.state = state
        self.lives = 0
        self.frozen = False
        self.ending_since_s: float | None = None
        self.own_ends: Counter[str] = Counter()
        self._file = file
        self._broker = broker
        self._logs = logs
        # One key for all machines, which outlives a state directory that is lost.
        self._seal_key = logs.parent / "seal.key"
        load_or_create_seal_key(self._seal_key)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def log(self) -> Path:
        return self._logs / f"{self.name}-{self.lives}.log"

    def start(self) -> None:
        assert self._process is None
        self.lives += 1
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "stream_app", "run", str(self._file)),
                    *("--broker", self._broker, "--state", str(self.state), "--partitions", "8"),
                ],
                cwd=self._file.parent,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYTHONFAULTHANDLER": "1",
                    "STREAM_APP_SEAL_KEY_FILE": str(self._seal_key),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard = guard(self._process)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._to_all(signal.SIGKILL)
            self._process.wait()
            self._gone()

    def _to_all(self, number: signal.Signals) -> None:
        """Send a signal to the process that watches and to the one that works."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def terminate(self) -> None:
        """SIGTERM; it ends in its own time."""
        if self._process is not None and self.ending_since_s is None:
            self._process.send_signal(signal.SIGTERM)
            self.ending_since_s = time.monotonic()

    def freeze(self) -> None:
        if self._process is not None:
            self._to_all(signal.SIGSTOP)
            self.frozen = True

    def thaw(self) -> None:
        if self._process is not None and self.frozen:
            self._to_all(signal.SIGCONT)
        self.frozen = False

    def look(self) -> bool:
        """Tell whether it has ended since; raises when it may not have, or should have."""
        if self._process is None:
            return False
        code, asked = self._process.poll(), self.ending_since_s
        if code is None:
            if asked is not None and time.monotonic() - asked > ENDS_WITHIN_S:
                raise ChaosFailure(f"{self._late()}\n{self.dump()}")
            return False
        said = self.tail()
        self._gone()
        if asked is not None and code in (0, -signal.SIGTERM):
            return True
        if code not in MAY_END_WITH:
            raise ChaosFailure(f"{self.log.name} ended with exit code {code}:\n{said}")
        self.own_ends[f"exit {code}: {_error(said)}"] += 1
        return True

    def _late(self) -> str:
        return f"{self.log.name} has not ended {ENDS_WITHIN_S:.0f} s after SIGTERM:"

    def dump(self) -> str:
        """Have it print every thread's stack and die; returns its last lines and the stacks."""
        said = self.tail()
        if self._process is not None:
            self.thaw()
            self._to_all(signal.SIGABRT)
            try:
                self._process.wait(DUMP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._gone()
        return said + "\n" + self._stacks()

    def tail(self) -> str:
        """Return the last lines of this life's log, and the stacks that a crash has left."""
        lines = self._lines()
        stacks = self._stacks()
        said = [line for line in lines if line.startswith("{")]
        plain = [line for line in lines[-TAIL:] if not line.startswith("{")]
        return "\n".join(
            [f"--- {self.log.name}", *said[-TAIL:], *(() if stacks else plain), stacks]
        )

    def _lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def _stacks(self) -> str:
        """Return what faulthandler printed, without the modules that it lists at its end."""
        lines = self._lines()
        begin = [n for n, line in enumerate(lines) if line.startswith("Fatal Python error")]
        stacks = lines[begin[-1] :] if begin else []
        return "\n".join(line for line in stacks if not line.startswith("Extension modules"))

    def _gone(self) -> None:
        self._process = None
        self.frozen = False
        self.ending_since_s = None
        if self._guard is not None:
            self._guard.communicate(b"done\n")
            self._guard = None


def guard(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Kill a process when this one is gone, however it went: the guard's input ends then."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r line || kill -s KILL "$0"', str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _error(said: str) -> str:
    """Return the error that a worker ended with, without what differs from time to time."""
    lines = [line for line in said.splitlines() if line.startswith("Error:")]
    return re.sub(r"\d+", "N", lines[-1]) if lines else "nothing said"
