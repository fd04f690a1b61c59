"""What a SQLite result code means to a person: which error, and what to do next."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from stream_app.errors import LogBusy, LogUnavailable, LogUntrusted, StreamAppError, UsageError
from stream_app.records import format_position
from stream_app.storage.lock_holder import holder_of
from stream_app.storage.private_files import MORE_FILES
from stream_app.storage.sqlite_schema import SQLITE_VERSION_MIN

# The byte of the -shm file that SQLite's one writer locks (WAL_WRITE_LOCK in its file format).
_WRITER_BYTE = 120

_CONSTRAINT_DATATYPE = 19 | 12 << 8
_CONSTRAINT_NOTNULL = 19 | 5 << 8
_FILES_OF_A_LOG = 7  # three for each of its two connections, and a directory that is synced
# The -shm file cannot grow: SQLite writes to it, since a hole in what is mapped would kill us.
_IOERR_SHMSIZE = 10 | 19 << 8


def error_of(path: Path, code: int, extended: int, text: str) -> StreamAppError:
    """Return the named error for a failed call on the log at `path`.

    `code` and `extended` are SQLite's primary and extended result codes (sqlite.org/rescode).
    """
    if extended == _CONSTRAINT_DATATYPE:
        return UsageError(
            f"A key, value or header for the event log {path} is not bytes ({text}).",
            attempt="encode it first.",
        )
    if extended == _CONSTRAINT_NOTNULL:
        return UsageError(
            f"A record for the event log {path} lacks what every record has ({text}).",
            attempt='b"" where it has no value.',
        )
    if extended == _IOERR_SHMSIZE:
        return _full(path, text)
    return _BY_CODE.get(code, _failed)(path, text)


def foreign(path: Path) -> StreamAppError:
    """Return the error for a file that somebody else wrote."""
    return LogUntrusted(
        f"{path} is not an event log of stream-app.",
        attempt="name another path; stream-app leaves this file as it is.",
    )


def newer(path: Path, found: int, known: int) -> StreamAppError:
    """Return the error for a log whose tables this release does not know."""
    return LogUntrusted(
        f"The event log {path} was written by a newer stream-app"
        f" (its tables are number {found}, this release knows {known}).",
        attempt="pip install --upgrade stream-app",
    )


def directory(path: Path) -> StreamAppError:
    """Return the error for a directory in place of a log."""
    return LogUnavailable(
        f"{path} is a directory, and the event log is a file.", attempt=f"--broker {path}/log.db"
    )


def missing(path: Path) -> StreamAppError:
    """Return the error for a log that is not there."""
    return LogUnavailable(
        f"There is no event log at {path}.",
        attempt="stream-app run FILE, which makes one, as produce does; or --broker with the path "
        "of another",
    )


def replaced(path: Path) -> StreamAppError:
    """Return the error for a file taken away while it was in use."""
    return LogUntrusted(
        f"{path} was removed or replaced while the event log was in use; nothing was written.",
        attempt="put back the files (the log, -wal and -shm belong together) and start again.",
    )


def removed(path: Path, wal: Path) -> StreamAppError:
    """Return the error for a log of which only the newest part is left."""
    return LogUntrusted(
        f"The event log {path} was removed, but {wal.name} is still there and holds its newest"
        " records.",
        attempt=f"put {path.name} back beside it; to begin anew, move {wal} away.",
    )


def contradicting(path: Path, text: str) -> StreamAppError:
    """Return the error for a log whose tables do not agree with each other."""
    return LogUntrusted(
        f"The event log {path} contradicts itself ({text}).",
        attempt="restore it from a backup; keep this file and its -wal for inspection.",
    )


def records_missing(path: Path, topic: str, partition: int, first: int) -> StreamAppError:
    """Return the error for records that the log gave offsets to and no longer has."""
    place = format_position(topic, partition, first)
    return contradicting(path, f"records from {place} on are missing")


def error_of_system(path: Path, error: OSError) -> StreamAppError:
    """Return the error for a refusal of the operating system's."""
    if error.errno == errno.ENOSPC:
        return _full(path, "")
    if error.errno == errno.ENOENT:
        return LogUnavailable(
            f"There is no directory {path.parent} for the event log {path.name}.",
            attempt=f"mkdir -p {path.parent}",
        )
    return _unopenable(path, error.strerror or str(error))


def _no_more_files() -> bool:
    """Tell whether this process may not open as many files more as a log has: SQLite does not."""
    with ExitStack() as opened:
        try:
            for _ in range(_FILES_OF_A_LOG):
                descriptor = os.open(os.devnull, os.O_RDONLY)
                opened.callback(os.close, descriptor)
        except OSError as error:
            return error.errno in {errno.EMFILE, errno.ENFILE}
    return False


def require_safe_sqlite(version: str) -> None:
    """Raise `LogUnavailable` when this SQLite can corrupt a log that several processes write."""
    if tuple(int(part) for part in version.split(".")) < SQLITE_VERSION_MIN:
        least = ".".join(str(part) for part in SQLITE_VERSION_MIN)
        raise LogUnavailable(
            f"SQLite {version} can corrupt a log that several processes write;"
            f" {least} is the first that does not.",
            attempt="pip install --upgrade --only-binary :all: apsw",
        )


def _busy(path: Path, text: str) -> StreamAppError:
    holder = holder_of(path.with_name(path.name + "-shm"), _WRITER_BYTE)
    if holder is None:
        return LogBusy(
            f"The event log {path} stayed locked by another process ({text}).",
            attempt=f"see who uses it (`fuser {path}`), end that process, then start again.",
        )
    return LogBusy(
        f"The event log {path} stayed locked by {holder.described}.", attempt=holder.attempt
    )


def _corrupt(path: Path, text: str) -> StreamAppError:
    return LogUntrusted(
        f"The event log {path} is damaged ({text}).",
        attempt="restore it from a backup; keep this file and its -wal for inspection.",
    )


def _full(path: Path, _: str) -> StreamAppError:
    return LogUnavailable(
        f"The disk of the event log {path} is full; nothing was written.",
        attempt=f"free space (`df -h {path.parent}`) and start again.",
    )


def _read_only(path: Path, text: str) -> StreamAppError:
    return LogUnavailable(
        f"The event log {path} cannot be written ({text}).",
        attempt=f"make the file and {path.parent} writable for this user, then start again.",
    )


def _unopenable(path: Path, text: str) -> StreamAppError:
    if _no_more_files():
        return LogUnavailable(
            f"The event log {path} cannot be opened ({text}): this process may open no more files.",
            attempt=MORE_FILES,
        )
    return LogUnavailable(
        f"The event log {path} cannot be opened ({text}).",
        attempt=f"check that {path} is a file that this user may read and write.",
    )


def _too_big(path: Path, text: str) -> StreamAppError:
    return UsageError(
        f"A record is larger than the event log {path} can hold ({text}).",
        attempt="keep records well below 1 GB.",
    )


def _failed(path: Path, text: str) -> StreamAppError:
    return LogUnavailable(
        f"The event log {path} could not be read or written ({text}).",
        attempt=f"check the disk of {path.parent}, then start again.",
    )


_BY_CODE: dict[int, Callable[[Path, str], StreamAppError]] = {
    3: _unopenable,  # SQLITE_PERM
    5: _busy,
    6: _busy,  # SQLITE_LOCKED
    8: _read_only,
    11: _corrupt,
    13: _full,
    14: _unopenable,  # SQLITE_CANTOPEN
    18: _too_big,
    1: contradicting,  # SQLITE_ERROR: a table or column is not there
    19: contradicting,  # SQLITE_CONSTRAINT
    23: _unopenable,  # SQLITE_AUTH
    26: lambda path, _: foreign(path),  # SQLITE_NOTADB
}
