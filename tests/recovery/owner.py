"""A process that owns a partition and takes one step for every line that it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stream_app.errors import StreamAppError
from tests.recovery.machine import Machine
from tests.recovery.pipelines import small

ROOT = Path(__file__).parents[2]


class Owner:
    """The owning process, seen from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def answer(self) -> str:
        """Wait for what it says."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def step(self) -> str:
        """Let it process what there is; returns how many records, or the error's name."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return self.answer()


@contextmanager
def owning(machine: Machine) -> Iterator[Owner]:
    """Start an owner of the small pipeline; it is killed afterwards."""
    command = [sys.executable, "-m", "tests.recovery.owner", str(machine.root)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            owner = Owner(process)
            assert owner.answer() == "open"
            yield owner
        finally:
            process.kill()


def _own(machine: Machine) -> None:
    with closing(machine.log()) as log, closing(machine.open(log, small())) as host:
        print("open", flush=True)
        for _ in sys.stdin:
            try:
                print(host.step(100), flush=True)
            except StreamAppError as error:
                print(type(error).__name__, flush=True)


if __name__ == "__main__":
    _own(Machine(Path(sys.argv[1])))
