"""What RocksDB's messages mean: which surroundings failed, or which state cannot be trusted."""

from __future__ import annotations

from pathlib import Path

from stream_app.errors import StateUnavailable, StateUntrusted, StreamAppError
from stream_app.storage.lock_holder import holder_of
from stream_app.storage.private_files import MORE_FILES

_RACE = "the same again: its writer was replacing files"
_WAYS_OUT = (
    ("lock hold by current process", "close the store that this process has open on it"),
    ("No space left", "free some space on that disk and start again"),
    ("quota exceeded", "free some of your disk quota and start again"),
    ("Too many open files", MORE_FILES),
    ("Permission denied", "check who owns it (ls -lR) and run as that user"),
    ("Read-only file system", "mount that file system writable, or name another directory"),
)


def name_rocksdb_error(error: Exception, path: Path, *, read_only: bool) -> StreamAppError:
    """Return the error that says what happened to the state in `path`, and the way out.

    RocksDB tells kinds of failure apart only in its text. `read_only` readers run beside a living
    writer that replaces files, so a file missing for them is no damage.
    """
    text = str(error).partition("\n")[0]
    if "While lock file" in text and "Resource temporarily unavailable" in text:
        return _locked_elsewhere(path)
    if "comparator" in text:
        return foreign(path, text)
    is_race = read_only and "No such file" in text
    if ("Corruption" in text or "No such file" in text) and "No space left" not in text:
        return _unavailable(path, text, _RACE) if is_race else damaged(path, text)
    ways_out = (way_out for sign, way_out in _WAYS_OUT if sign in text)
    return _unavailable(path, text, next(ways_out, "check the disk (dmesg) and start again"))


def damaged(path: Path, what: str) -> StateUntrusted:
    """Return the error for state that does not read back as it was written."""
    return StateUntrusted(
        f"The state in {path} is damaged: {what}.",
        attempt=f"rm -r {path} and start again: state is a fold of the log and is rebuilt "
        "from it. Check the disk (dmesg) too",
    )


def foreign(path: Path, what: str) -> StateUntrusted:
    """Return the error for a RocksDB that is not a state store's."""
    return StateUntrusted(
        f"The RocksDB in {path} belongs to another program: {what}.",
        attempt="name another state directory",
    )


def _unavailable(path: Path, text: str, attempt: str) -> StateUnavailable:
    return StateUnavailable(f"The state in {path} is not usable: {text}.", attempt=attempt)


def _locked_elsewhere(path: Path) -> StateUnavailable:
    holder = holder_of(path / "rocksdb" / "LOCK")
    who = "a process that cannot be seen from here" if holder is None else holder.described
    return StateUnavailable(
        f"The state in {path} is held by {who}.",
        attempt="end the other owner, then start again" if holder is None else holder.attempt,
    )
