"""What RocksDB's messages mean: which surroundings failed, or which state cannot be trusted."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

from stream_app.errors import StateUnavailable, StateUntrusted, StreamAppError

_FLOCK = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux

_RACE = "the same again: its writer was replacing files"
_WAYS_OUT = (
    ("lock hold by current process", "close the store that this process has open on it"),
    ("No space left", "free some space on that disk and start again"),
    ("quota exceeded", "free some of your disk quota and start again"),
    ("Permission denied", "check who owns it (ls -lR) and run as that user"),
    ("Read-only file system", "mount that file system writable, or name another directory"),
)


def name_rocksdb_error(error: Exception, directory: Path, *, read_only: bool) -> StreamAppError:
    """Return the error that says what happened to the state in `directory`, and the way out.

    RocksDB tells kinds of failure apart only in its text. `read_only` readers run beside a living
    writer that replaces files, so a file missing for them is no damage.
    """
    if isinstance(error, StreamAppError):
        return error
    text = str(error).partition("\n")[0]
    if "While lock file" in text and "Resource temporarily unavailable" in text:
        return _locked_elsewhere(directory)
    is_race = read_only and "No such file" in text
    if ("Corruption" in text or "No such file" in text) and "No space left" not in text:
        return _unavailable(directory, text, _RACE) if is_race else damaged(directory, text)
    ways_out = (way_out for sign, way_out in _WAYS_OUT if sign in text)
    return _unavailable(directory, text, next(ways_out, "check the disk (dmesg) and start again"))


def damaged(directory: Path, what: str) -> StateUntrusted:
    """Return the error for state that does not read back as it was written."""
    return StateUntrusted(
        f"The state in {directory} is damaged: {what}.",
        attempt=f"rm -r {directory} and start again: state is a fold of the log and is rebuilt "
        "from it. Check the disk (dmesg) too",
    )


def _unavailable(directory: Path, text: str, attempt: str) -> StateUnavailable:
    return StateUnavailable(f"The state in {directory} is not usable: {text}.", attempt=attempt)


def _locked_elsewhere(directory: Path) -> StateUnavailable:
    holder = lock_holder(directory / "LOCK")
    who = "another process" if holder is None else f"process {holder}"
    look = "fuser" if holder is None else f"ps -p {holder}; fuser"
    return StateUnavailable(
        f"The state in {directory} is held by {who}.",
        attempt=f"wait for it to end or stop it ({look} {directory / 'LOCK'}), then start again",
    )


def lock_holder(lock: Path) -> int | None:
    """Return the process id that holds RocksDB's lock file, or None when that cannot be told.

    Never call this where this process may hold the lock itself: closing any descriptor of the
    file gives a POSIX lock up.
    """
    if sys.platform != "linux":
        return None
    with suppress(OSError):
        descriptor = os.open(lock, os.O_RDWR)
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, holder = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
            # 0 is a holder in another process namespace (a container).
            return None if kind == fcntl.F_UNLCK else int(holder) or None
        finally:
            os.close(descriptor)
    return None
