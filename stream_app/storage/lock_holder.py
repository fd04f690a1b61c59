"""Who stands in the way: the process that holds a kernel lock, in words a person can act on."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Holder(msgspec.Struct, frozen=True):
    """A process that holds a lock; `stopped` when it is frozen and will not let go by itself."""

    pid: int
    name: str = ""
    stopped: bool = False

    @property
    def described(self) -> str:
        """The process as an error's problem names it."""
        name = f" ({self.name})" if self.name else ""
        state = ", which is stopped" if self.stopped else ""
        return f"process {self.pid}{name}{state}"

    @property
    def attempt(self) -> str:
        """What a person can do about it."""
        if self.stopped:
            return (
                f"let it go on with `kill -CONT {self.pid}` or end it with `kill -KILL {self.pid}`,"
                " then start again."
            )
        return f"wait until it ends or end it with `kill {self.pid}`, then start again."


def holder_of(path: Path, byte: int | None = None) -> Holder | None:
    """Return who holds a POSIX lock on `path` (on that byte of it), or None when unknown.

    Reads the kernel's own table: opening the file to ask would, on closing it, drop every lock
    that this process has on it. None where there is no such table.
    """
    try:
        file = path.stat()
        table = Path("/proc/locks").read_text()
    except OSError:
        return None
    # A file system whose devices go by another name there simply gives no answer.
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    for line in table.splitlines():
        pid = _lock_on(line.split(), f"{device}:{file.st_ino}", byte)
        if pid is not None:
            return process(pid)
    return None


def process(pid: int) -> Holder | None:
    """Return what the kernel tells of a living process, or None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return Holder(pid) if _alive(pid) else None
    # The name stands in parentheses and may itself contain spaces and parentheses.
    name, _, rest = fields.partition("(")[2].rpartition(")")
    return Holder(pid, name, stopped=rest.split()[0] in {"T", "t"})


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock_on(fields: list[str], file: str, byte: int | None) -> int | None:
    """Read a line such as `1: POSIX  ADVISORY  WRITE 1234 fd:00:5678 120 120`."""
    if len(fields) != 8 or fields[1] != "POSIX" or fields[3] != "WRITE":
        return None  # eight fields: a line of somebody who only waits has an arrow in it
    if fields[5] != file or int(fields[4]) <= 0:
        return None
    last = float("inf") if fields[7] == "EOF" else int(fields[7])
    return int(fields[4]) if byte is None or int(fields[6]) <= byte <= last else None
