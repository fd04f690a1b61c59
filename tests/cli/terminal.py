"""A terminal for tests: runs `stream-app`, sees both outputs and the exit code, sends signals."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = str(Path(sys.executable).with_name("stream-app"))
WAIT_S = 60.0


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> list[Any]:
        """Return standard output's JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command that may still run."""

    def __init__(self, terminal: Terminal, pid: int, out: Path, err: Path) -> None:
        self.pid = pid
        self.out = out
        self._err = err
        self._terminal = terminal

    def lines(self) -> list[str]:
        """Return the whole lines of standard output so far."""
        return self.out.read_text().split("\n")[:-1] if self.out.exists() else []

    def err(self) -> str:
        """Return standard error so far."""
        return self._err.read_text() if self._err.exists() else ""

    def wait_for(self, wanted: Any) -> None:
        """Wait until `wanted()` is true."""
        deadline = time.monotonic() + WAIT_S
        while not wanted():
            assert time.monotonic() < deadline, self.err()
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Send a signal and see the end."""
        os.kill(self.pid, number)
        return self.end()

    def end(self) -> Ended:
        """Wait for the end."""
        code = self._terminal.ask({"wait": self.pid})
        return Ended(code, self.out.read_text(), self._err.read_text())


class Terminal:
    """Starts commands in forks of a warm program; `real` runs the installed one instead."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._warm = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm_program.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**clean_environment(), "PYTHONHASHSEED": "0"},
        )

    def ask(self, request: Mapping[str, Any]) -> int:
        """Ask the warm program."""
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write(json.dumps(request) + "\n")
        self._warm.stdin.flush()
        return int(self._warm.stdout.readline())

    def start(
        self,
        directory: Path,
        *arguments: str,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start a command and go on."""
        number = next(self._numbers)
        files = [self._folder / f"{number}.{name}" for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        pid = self.ask(
            {
                "files": [str(file) for file in files],
                "directory": str(directory),
                "environment": dict(environment or {}),
                "arguments": arguments,
            }
        )
        return Running(self, pid, files[1], files[2])

    def run(self, directory: Path, *arguments: str, stdin: str = "", **environment: str) -> Ended:
        """Run a command to its end."""
        return self.start(directory, *arguments, stdin=stdin, environment=environment).end()

    def close(self) -> None:
        """End the warm program."""
        assert self._warm.stdin is not None
        self._warm.stdin.close()
        self._warm.wait(10)


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of ours."""
    return {k: v for k, v in os.environ.items() if not k.startswith("STREAM_APP_")}


def real(directory: Path, *arguments: str, **environment: str) -> Ended:
    """Run the installed program to its end."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=directory,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def on_a_terminal(
    directory: Path, columns: int, *arguments: str, typed: str = "", **environment: str
) -> Ended:
    """Run the installed program with a terminal for both of its outputs; `out` is what came.

    That is every byte, what was erased meanwhile too; `shown` tells what stays. What is `typed`
    comes from the same terminal.
    """
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "TERM")
    clean = {k: v for k, v in clean_environment().items() if k not in hidden}
    with subprocess.Popen(
        [PROGRAM, *arguments],
        cwd=directory,
        env={**clean, "TERM": "xterm", **environment},
        stdin=child if typed else subprocess.DEVNULL,
        stdout=child,
        stderr=child,
    ) as process:
        os.close(child)
        os.write(parent, typed.encode())
        came = b""
        while chunk := _read(parent):
            came += chunk
        os.close(parent)
    return Ended(process.returncode, came.decode(), "")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""


def shown(came: str) -> list[str]:
    """Return the lines that stay on a terminal, without colours and without what was erased."""
    came = re.sub(r"[^\n]*\n(?:\x1b\[\?25h)?\r\x1b\[1A\x1b\[2K", "", came)  # a live line's end
    lines = [line.rpartition("\r")[2] for line in came.replace("\r\n", "\n").split("\n")]
    return [re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", line) for line in lines]


def assert_error(ended: Ended, code: int, *words: str) -> None:
    """Assert the shape of an error: a problem, then a way out, and no traceback."""
    assert ended.code == code, ended
    lines: Sequence[str] = ended.err.splitlines()
    assert any(line.startswith("Error: ") for line in lines), ended
    assert lines[-1].startswith("Try: "), ended
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended
