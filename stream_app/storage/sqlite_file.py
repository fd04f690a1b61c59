"""The file of an embedded log and its two connections: whole transactions, and named errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import apsw

from stream_app.errors import UsageError
from stream_app.storage import sqlite_errors
from stream_app.storage import sqlite_schema as schema
from stream_app.storage import sqlite_tables as tables
from stream_app.storage.record_columns import Damaged

# A file that this process makes must not be closed by one thread while SQLite has it open for
# another: closing it would drop SQLite's locks on it.
_opening = threading.Lock()


class SqliteFile:
    """One reading connection and, unless it is read only, one writing; safe for threads.

    Every use may raise `LogUnavailable`, `LogBusy` and `LogUntrusted`. A forked child, a closed
    file and one that was removed or replaced are refused.
    """

    def __init__(self, path: Path, reader: apsw.Connection, writer: apsw.Connection | None) -> None:
        self.path = path
        self.reader = reader
        self.writer = writer
        self._pid = os.getpid()
        self._closed = False
        self._files = [path] if writer is None else [path, path.with_name(path.name + "-wal")]
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self.log_id = tables.log_id(reader)
        # Whether records have checksums: of a log that was made before them, none has.
        self.checked = reader.pragma("user_version") >= schema.CHECKED_SINCE
        self._identity = self._identify()
        if not self._identity:
            raise sqlite_errors.replaced(path)

    @classmethod
    def open(
        cls, place: Path, *, create: bool, read_only: bool, busy_timeout_ms: int
    ) -> SqliteFile:
        """Open the log at `place`; with `create`, make it first when there is none."""
        sqlite_errors.require_safe_sqlite(apsw.sqlite_lib_version())
        with _opening, _named_errors(place):
            if not place.exists():
                if not create or read_only:
                    raise sqlite_errors.missing(place)
                _refuse_orphans(place)
                _create(place)
            elif place.is_dir():
                raise sqlite_errors.directory(place)
            # The writer comes first: after a crash it is the one who may repair.
            with ExitStack() as on_failure:
                writer = None if read_only else _connect(place, busy_timeout_ms, read_only=False)
                if writer is not None:
                    on_failure.callback(writer.close)
                reader = _connect(place, busy_timeout_ms, read_only=True)
                on_failure.callback(reader.close)
                file = cls(place, reader, writer)
                on_failure.pop_all()
                return file

    @property
    def closed(self) -> bool:
        """Whether there is nothing to close: it is closed, or belongs to the parent of a fork."""
        return self._closed or os.getpid() != self._pid

    def close(self) -> None:
        """Close both connections, once nobody uses them."""
        with self._write_lock, self._read_lock:
            self._closed = True
            self.reader.close()
            if self.writer is not None:
                self.writer.close()

    def require_writable(self) -> None:
        """Raise what a transaction would raise at its beginning."""
        self._require_own_process()
        self._require_usable(self.writer)

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """Open one durable transaction: all of it, or nothing."""
        self._require_own_process()
        with self._write_lock, _named_errors(self.path):
            connection = self._require_usable(self.writer)
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Open one consistent view, and close it again: an open one lets the -wal file grow."""
        self._require_own_process()
        with self._read_lock, _named_errors(self.path):
            connection = self._require_usable(self.reader)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def looking(self) -> Iterator[apsw.Connection]:
        """Let one question be asked, without a transaction around it."""
        self._require_own_process()
        with self._read_lock, _named_errors(self.path):
            yield self._require_usable(self.reader)

    def _require_own_process(self) -> None:
        """Comes before any lock: one held by a thread of the parent is never let go here."""
        if os.getpid() != self._pid:
            raise UsageError(
                f"The event log {self.path} was opened before this process was forked.",
                attempt="open it in the new process, or fork before it is opened.",
            )

    def _require_usable(self, connection: apsw.Connection | None) -> apsw.Connection:
        if self._closed:
            raise UsageError(f"The event log {self.path} is closed.", attempt="open it again.")
        if connection is None:
            raise UsageError(
                f"The event log {self.path} was opened for reading only.",
                attempt="open it without read_only.",
            )
        if self._identify() != self._identity:
            raise sqlite_errors.replaced(self.path)
        return connection

    def _identify(self) -> list[tuple[int, int]]:
        """Say which files these are; looks at names only, since opening them drops locks."""
        try:
            return [(file.st_dev, file.st_ino) for file in map(os.stat, self._files)]
        except FileNotFoundError:
            return []


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into errors that say what to do."""
    try:
        yield
    except apsw.Error as error:
        code, extended = getattr(error, "result", 0), getattr(error, "extendedresult", 0)
        raise sqlite_errors.error_of(path, code, extended, str(error)) from error
    except Damaged as error:
        raise sqlite_errors.contradicting(path, str(error)) from error
    except UnicodeDecodeError as error:  # apsw's, for a text that nobody has written so
        raise sqlite_errors.contradicting(path, f"a text is none: {error}") from error
    except OSError as error:
        raise sqlite_errors.error_of_system(path, error) from error


def _refuse_orphans(path: Path) -> None:
    """Refuse to make a log beside the -wal of a lost one: SQLite would write that into ours."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise sqlite_errors.removed(path, wal)


def _create(path: Path) -> None:
    """Make a log and put it in place in one step: nobody ever sees half of one."""
    log_id = uuid4().hex
    draft = path.with_name(f"{path.name}.new-{log_id}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = apsw.Connection(str(draft), apsw.SQLITE_OPEN_READWRITE)
        with closing(connection):
            _fill(connection, log_id)
        with suppress(FileExistsError):  # another process was faster: theirs is as good
            path.hardlink_to(draft)
    finally:
        for suffix in ("", "-wal", "-shm"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    _sync_directory(path.parent)


def _fill(connection: apsw.Connection, log_id: str) -> None:
    connection.pragma("page_size", schema.PAGE_BYTES)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(schema.CREATE_TABLES)
    connection.execute("INSERT INTO log VALUES (?)", (log_id,))
    connection.pragma("application_id", schema.APPLICATION_ID)
    connection.pragma("user_version", schema.SCHEMA_VERSION)
    connection.execute("COMMIT")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path, busy_timeout_ms: int, *, read_only: bool) -> apsw.Connection:
    """Open a connection to a log, having made sure that the file is one."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    connection = apsw.Connection(str(path), flags)
    try:
        connection.set_busy_timeout(busy_timeout_ms)
        if connection.pragma("application_id") != schema.APPLICATION_ID:
            raise sqlite_errors.foreign(path)
        version = connection.pragma("user_version")
        if version > schema.SCHEMA_VERSION:
            raise sqlite_errors.newer(path, version, schema.SCHEMA_VERSION)
        if not read_only:
            _make_durable(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_durable(connection: apsw.Connection) -> None:
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    # macOS: without these, "synced" data may still be in the drive's cache.
    connection.pragma("fullfsync", 1)
    connection.pragma("checkpoint_fullfsync", 1)
    connection.pragma("wal_autocheckpoint", schema.WAL_CHECKPOINT_PAGES)
    connection.pragma("journal_size_limit", schema.WAL_BYTES_KEPT_MAX)
