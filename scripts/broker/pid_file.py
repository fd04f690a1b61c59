"""Remembers which process is the broker, so that no other process is ever taken for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.broker.server import STOP_TIMEOUT_S, Ports


@dataclass(frozen=True)
class Running:
    """A broker's process, and where it listens."""

    pid: int
    token: str
    ports: Ports

    def is_alive(self) -> bool:
        """Say whether that very process lives: its arguments have the token of its start."""
        return f"-Dstream.app.token={self.token}" in _arguments(self.pid)

    def end(self) -> bool:
        """End it and wait until it is gone. False if it had to be killed."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_TIMEOUT_S
            self._send(how)
            self._send(signal.SIGCONT)  # one that was frozen would not hear it
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            if not self.is_alive():
                return how is signal.SIGTERM
        return False

    def _send(self, how: signal.Signals) -> None:
        if self.is_alive():
            try:
                os.kill(self.pid, how)
            except ProcessLookupError:
                return  # it ended in between, which is what is wanted


def read(place: Path) -> Running | None:
    """Return the broker that lives, by this file; None if there is none."""
    try:
        said = json.loads(place.read_text())
        running = Running(said["pid"], said["token"], Ports(**said["ports"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return running if running.is_alive() else None


def write(place: Path, running: Running) -> None:
    """Replace the file, whole or not at all."""
    new = place.with_suffix(".new")
    new.write_text(json.dumps(asdict(running)))
    new.replace(place)


def _arguments(pid: int) -> list[str]:
    """Return a process's arguments; nothing if it is gone or only waits to be reaped."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return []
    listing = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
