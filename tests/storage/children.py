"""Start the log's child process, talk with it, and end it by its own id."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Child:
    """A running `log_child`, which says one line for every acknowledged step."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def line(self) -> str:
        """Wait for the next line; empty when the child has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def rest(self) -> list[str]:
        """Return all lines up to the child's end; the last one may have been cut off."""
        assert self._process.stdout is not None
        return self._process.stdout.read().splitlines()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would: no handler runs, nothing is closed."""
        self._process.kill()
        self._process.wait()


@contextmanager
def run_child(work: str, path: Path, *arguments: str) -> Iterator[Child]:
    """Run one work of `log_child` beside the test; it is killed at the end at the latest."""
    command = [sys.executable, "-m", "tests.storage.log_child", work, str(path), *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Child(process)
        finally:
            process.kill()
