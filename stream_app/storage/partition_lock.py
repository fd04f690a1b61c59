"""The kernel lock that one owner of a ledger's partition holds: let go by death, not by a clock."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote

import msgspec

from stream_app.errors import LogBusy, LogUnavailable, StreamAppError
from stream_app.storage.lock_holder import Holder, holder_of, process

# POSIX locks belong to the process, so the kernel neither refuses a second one within it nor
# keeps the first when any descriptor of the file is closed: this table does the refusing.
_held: dict[Path, int] = {}
_held_guard = threading.Lock()


class _Owner(msgspec.Struct, frozen=True):
    pid: int
    since_ms: int


class PartitionLock:
    """Held by at most one process of this machine; released when that process ends, however.

    The lock file stays behind, it is the lock on it that counts.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, log: Path, ledger: str, partition: int) -> PartitionLock:
        """Take the lock, without waiting.

        Raises `LogBusy` naming the process that has it, and `LogUnavailable` when the lock file
        cannot be made.
        """
        path = lock_file(log, ledger, partition)
        with _held_guard:
            if _held.get(path) == os.getpid():
                raise _busy(ledger, partition, process(os.getpid()), "this same process, ")
            try:
                descriptor = _lock(path)
                if descriptor is None:
                    raise _busy(ledger, partition, _owner(path))
            except OSError as error:
                raise _unusable(path, error) from error
            _held[path] = os.getpid()
        return cls(path, descriptor)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        with _held_guard:
            if self._descriptor is None or _held.get(self._path) != os.getpid():
                return
            del _held[self._path]
            os.close(self._descriptor)
            self._descriptor = None


def lock_file(log: Path, ledger: str, partition: int) -> Path:
    """Return the file that is locked by who owns a partition of the log in file `log`."""
    directory = log.resolve()
    directory = directory.with_name(f"{directory.name}.locks")
    return directory / f"{quote(ledger, safe='')}@{partition}.lock"


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None when another process holds it."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(_Owner(os.getpid(), _now_ms())), 0)
    except (BlockingIOError, PermissionError):  # both mean "held", depending on the system
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _owner(path: Path) -> Holder | None:
    """Ask the kernel who holds the lock; where it does not say, believe the file."""
    if (holder := holder_of(path)) is not None:
        return holder
    try:
        return process(msgspec.json.decode(path.read_bytes(), type=_Owner).pid)
    except (OSError, msgspec.MsgspecError):
        return None


def _busy(ledger: str, partition: int, holder: Holder | None, prefix: str = "") -> StreamAppError:
    name = holder.described if holder else "a process that cannot be seen from here"
    return LogBusy(
        f"Partition {partition} of {ledger.removesuffix('.ledger')} is owned by {prefix}{name}.",
        attempt=holder.attempt if holder else "end the other owner, then start again.",
    )


def _unusable(path: Path, error: OSError) -> StreamAppError:
    return LogUnavailable(
        f"The lock file {path} cannot be used: {error.strerror or error}.",
        attempt=f"make {path.parent} writable for this user, then start again.",
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
