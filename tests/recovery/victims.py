"""Processes that are killed: forks of one that has imported everything, which start at once."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from typing import Protocol

from stream_app.cli.hash_seed import SEED

CONTEXT = multiprocessing.get_context("forkserver")


def prepare_forks() -> None:
    """Have forks start with the hash seed of everywhere, and with everything imported."""
    os.environ["PYTHONHASHSEED"] = SEED
    CONTEXT.set_forkserver_preload(
        ["stream_app.hosts.embedded", "stream_app.hosts.backfills", "tests.recovery.pipelines"]
    )


class Victim(Protocol):
    """A process that is killed."""

    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; raises `TimeoutExpired`."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...


class Fork:
    """The command in a fork, with the same hash seed as everywhere."""

    def __init__(self, arguments: list[str]) -> None:
        self._process = CONTEXT.Process(target=_command_in_fork, args=(arguments,))
        self._process.start()
        self.pid = self._process.pid or 0

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; raises `TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("stream-app", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()


def _command_in_fork(arguments: list[str]) -> None:
    from stream_app.cli.program import main as stream_app  # noqa: PLC0415 - in the fork alone

    stream_app(arguments)
