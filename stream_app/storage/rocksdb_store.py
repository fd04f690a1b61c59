"""One partition's state in RocksDB: each checkpoint image is one atomic, durable write batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from rocksdict import (
    AccessType,
    Checkpoint,
    ColumnFamily,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
)

from stream_app.core.store import Image
from stream_app.errors import StateUnavailable, StateUntrusted, StreamAppError
from stream_app.storage.address_space import require_room_once
from stream_app.storage.allocator import keep_large_blocks_apart
from stream_app.storage.private_files import (
    make_private_directory,
    named_os_errors,
    refuse_writers,
)
from stream_app.storage.rocksdb_errors import damaged, foreign, name_rocksdb_error
from stream_app.storage.rocksdb_logs import refuse_endless_logs
from stream_app.storage.rocksdb_options import options_of
from stream_app.storage.save_count import SaveCount

_READER_ATTEMPTS_MAX = 5

# A family is the column family with this prefix, so that any name is free; what the store itself
# keeps is in RocksDB's own "default", which can be neither dropped nor named by an image.
_FAMILY_PREFIX = "family:"
_OWN = "default"
_LAYOUT_KEY, _LAYOUT = b"layout", b"1"
_OFFSET_KEY = b"next_offset"
_COUNT_KEY = b"save_count"
# Each family and the number of the save that last wrote it. The family says that number too, at
# its mark: RocksDB flushes families one by one, so damage may roll one of them back alone. The
# list also says which column families count, since a batch cannot make or drop one.
_FAMILIES_KEY = b"families"
_MARK = b"saved"
_KEY, _AFTER_KEYS = b"k", b"l"  # a key of an image comes after this byte, so that all are free


class _OwnFacts(NamedTuple):
    saved_offset: int | None
    save_count: int
    marks: dict[str, int]


class RocksdbStore:
    """A `StateStore` in one directory, owned by one process at a time.

    Below `path` are `rocksdb/`, and `saves`: how often was saved, kept outside of RocksDB so that
    a roll-back inside it shows. Reads may run in one thread while another one saves. An image
    holds only what changed, so after a failed save every later one is refused: open again.
    `reached` is called with the name of every step of a save; crash tests die there.

    Every method raises `StateUnavailable` when the disk, a lock or a permission is in the way and
    `StateUntrusted` when what is read is not what was written.
    """

    def __init__(self, path: Path, db: Rdict, saves: int | None, *, read_only: bool) -> None:
        """Use `open`."""
        self._path = path
        self._directory = path / "rocksdb"
        self._count_outside = SaveCount(path / "saves")
        self._read_only = read_only
        self.reached: Callable[[str], None] = _nothing
        self._db: Rdict | None = db
        # Two tables, so that no frame of a kept traceback holds a handle, and thereby the lock.
        self._columns: dict[str, Rdict] = {}
        self._handles: dict[str, ColumnFamily] = {}
        self._write_unfinished = False
        self._private: set[str] = set()
        facts = self._own_facts(db)
        self._saved_offset, self._save_count = facts.saved_offset, facts.save_count
        self._marks = facts.marks
        self._rolled_back = saves is None or saves > self._save_count

    @classmethod
    def open(
        cls, path: Path | str, *, create: bool = True, read_only: bool = False
    ) -> RocksdbStore:
        """Open the state in directory `path`; `create` makes an empty one where there is none.

        `read_only` sees the state as it is now, also while another process writes, and leaves it
        as it is; yet rocksdict wants to be able to write there. Directories are made 0700 and
        files 0600; a directory that others may write to is refused as `StateUntrusted`.
        """
        path = Path(path)
        directory = path / "rocksdb"
        if read_only or not create:
            _refuse_missing(path, directory)
        else:
            _make_directories(path, directory)
        refuse_writers(path)
        refuse_writers(directory)
        require_room_once()
        keep_large_blocks_apart()
        # Read before RocksDB: a writer that saves between the two must not look rolled back.
        saves = SaveCount(path / "saves").read()
        attempts = _READER_ATTEMPTS_MAX if read_only else 1
        for attempt in range(1, attempts + 1):
            try:
                return cls._opened(path, directory, saves, read_only=read_only)
            except StateUnavailable:
                # A writer may have replaced files between their listing and their opening.
                if attempt == attempts:
                    raise
        raise AssertionError("unreachable")

    @classmethod
    def _opened(
        cls, path: Path, directory: Path, saves: int | None, *, read_only: bool
    ) -> RocksdbStore:
        refuse_endless_logs(path, directory)
        try:
            names = _column_names(directory)
            db = Rdict(
                str(directory),
                options_of(read_only=read_only),
                column_families={name: options_of(read_only=read_only) for name in names},
                access_type=AccessType.read_only(False)  # with what is only in its WAL as yet
                if read_only
                else AccessType.read_write(),
            )
        except Exception as error:
            raise name_rocksdb_error(error, path, read_only=read_only) from error
        try:
            store = cls(path, db, saves, read_only=read_only)
        except BaseException:
            db.close()
            raise
        try:
            store._adopt(names)
            store._make_files_private()
        except BaseException:
            store.close()
            raise
        return store

    @property
    def path(self) -> Path:
        """The directory that holds this state and nothing else."""
        return self._path

    @property
    def rolled_back(self) -> bool:
        """Whether RocksDB came back, at this open, with less than had been saved, or may have.

        That is damage to its write-ahead log. What came back is an older image, whole: fold the
        log again from its `saved_offset`.
        """
        return self._rolled_back

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the saved value, or None."""
        column = self._columns.get(family)
        if column is None:
            self._opened_db()
            return None
        try:
            value: bytes | None = column.get(_KEY + key)
        except Exception as error:
            raise self._named(error) from error
        return value

    def scan(
        self, family: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start` <= key < `stop`, in byte order of the keys."""
        self._opened_db()
        column = self._columns.get(family)
        if column is None or limit <= 0 or (stop is not None and stop <= start):
            return []
        options = ReadOptions()
        options.set_iterate_upper_bound(_AFTER_KEYS if stop is None else _KEY + stop)
        entries: list[tuple[bytes, bytes]] = []
        with self._named_errors():
            iterator = column.iter(options)
            try:
                iterator.seek(_KEY + start)
                while len(entries) < limit and iterator.valid():
                    entries.append((iterator.key()[1:], iterator.value()))
                    iterator.next()
                # An iterator that met damage is merely not valid any more.
                iterator.status()
            finally:
                del iterator  # it would hold RocksDB's lock for as long as a traceback lives
        return entries

    def save(self, image: Image) -> None:
        """Write an image, atomically and durably: after a crash all of it is there, or none.

        Creates the families that are new. May run in a thread: waiting for the disk releases the
        interpreter.
        """
        db = self._writable_db()
        count = self._save_count + 1
        self._write_unfinished = True
        with self._named_errors():
            db.write(self._batch(db, image, count))
            self.reached("batch written")
            # Not a synced write: that would hold the interpreter's lock while the disk works.
            db.flush_wal(True)
            self.reached("WAL flushed")
            self._count_outside.write(count)
            self.reached("save counted")
        self._saved_offset, self._save_count = image.next_offset, count
        self._make_files_private()
        self._write_unfinished = False

    def keep(self, path: Path) -> None:
        """Make a whole copy of what is saved in directory `path`, by links where that will do.

        Durable, and a state like any other. When it fails this store is as it was.
        """
        db = self._writable_db()
        directory = path / "rocksdb"
        SaveCount(path / "saves").write(self._save_count)
        self.reached("copy begun")
        with self._named_errors():
            Checkpoint(db).create_checkpoint(str(directory))
        with named_os_errors(directory):
            directory.chmod(0o700)
            for file in directory.iterdir():
                file.chmod(0o600)

    def saved_offset(self) -> int | None:
        """Return the newest image's `next_offset`, or None when nothing was ever saved."""
        self._opened_db()
        return self._saved_offset

    def save_count(self) -> int:
        """Return how many images were saved in the life of this directory."""
        self._opened_db()
        return self._save_count

    def families(self) -> set[str]:
        """Return the families that exist: every one an image named, less the dropped ones."""
        self._opened_db()
        return set(self._columns)

    def drop(self, family: str) -> None:
        """Remove a family with all its keys; nothing happens when there is none."""
        db = self._writable_db()
        if family not in self._columns:
            return
        self._write_unfinished = True
        with self._named_errors():
            # First the list, durably: an open after a crash here finishes the drop.
            del self._marks[family]
            batch = WriteBatch(raw_mode=True)
            batch.put(_FAMILIES_KEY, msgspec.json.encode(self._marks))
            db.write(batch)
            db.flush_wal(True)
            self._let_go(family)
            db.drop_column_family(_FAMILY_PREFIX + family)
        self._write_unfinished = False

    def close(self) -> None:
        """Let go of the files; a second time does nothing."""
        db, self._db = self._db, None
        if db is None:
            return
        failures = []
        for opened in (*self._columns.values(), db):
            try:
                opened.close()
            except Exception as error:
                failures.append(error)
        # RocksDB's lock is held for as long as any handle lives.
        self._handles.clear()
        self._columns.clear()
        # After a failed save these only say again what that one has said already.
        if failures and not self._write_unfinished:
            raise self._named(failures[0]) from failures[0]
        self._make_files_private()

    def _own_facts(self, db: Rdict) -> _OwnFacts:
        keys = (_LAYOUT_KEY, _OFFSET_KEY, _COUNT_KEY, _FAMILIES_KEY)
        with self._named_errors():
            layout, offset, count, families = (db.get(key) for key in keys)
        if layout is None:
            return _OwnFacts(None, 0, {})
        if layout != _LAYOUT:
            raise StateUntrusted(
                f"The state in {self._path} has layout {layout!r}, this release knows 1.",
                attempt="run the release that wrote it, or delete the directory: state is a fold "
                "of the log and is rebuilt from it",
            )
        if offset is None or count is None or families is None:
            raise damaged(self._path, "it does not say which position it stands for")
        marks = msgspec.json.decode(families, type=dict[str, int])
        return _OwnFacts(int(offset), int(count), marks)

    def _adopt(self, names: list[str]) -> None:
        for name in names:
            if name != _OWN and not name.startswith(_FAMILY_PREFIX):
                raise foreign(self._path, f"it has a column family {name!r}")
        present = {name.removeprefix(_FAMILY_PREFIX) for name in names if name != _OWN}
        db = self._opened_db()
        with self._named_errors():
            for family, count in self._marks.items():
                if family not in present:
                    raise damaged(self._path, f"it lacks the family {family!r}")
                self._take_in(db, family)
                if (mark := self._columns[family].get(_MARK)) != b"%d" % count:
                    what = f"family {family!r} is as of save {mark!r} instead of {count}"
                    raise damaged(self._path, what)
            if not self._read_only:
                # A crash cut the making or the dropping of these short.
                for family in present - self._marks.keys():
                    db.drop_column_family(_FAMILY_PREFIX + family)

    def _batch(self, db: Rdict, image: Image, count: int) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        for family, writes in image.writes.items():
            if family not in self._columns:
                column, options = _FAMILY_PREFIX + family, options_of(read_only=False)
                db.create_column_family(column, options).close()
                self._take_in(db, family)
            for key, value in writes.items():
                if value is None:
                    batch.delete(_KEY + key, self._handles[family])
                else:
                    batch.put(_KEY + key, value, self._handles[family])
            batch.put(_MARK, b"%d" % count, self._handles[family])
            self._marks[family] = count
        batch.put(_FAMILIES_KEY, msgspec.json.encode(self._marks))
        batch.put(_LAYOUT_KEY, _LAYOUT)
        batch.put(_OFFSET_KEY, b"%d" % image.next_offset)
        batch.put(_COUNT_KEY, b"%d" % count)
        return batch

    def _take_in(self, db: Rdict, family: str) -> None:
        name = _FAMILY_PREFIX + family
        self._handles[family] = db.get_column_family_handle(name)
        self._columns[family] = db.get_column_family(name)

    def _let_go(self, family: str) -> None:
        del self._handles[family]
        self._columns.pop(family).close()

    def _opened_db(self) -> Rdict:
        if self._db is None:
            raise StateUnavailable(
                f"The state store of {self._path} is closed.", attempt="open it again"
            )
        return self._db

    def _writable_db(self) -> Rdict:
        db = self._opened_db()
        if self._read_only:
            raise StateUnavailable(
                f"The state in {self._path} was opened to read only.",
                attempt="open it with read_only=False in the process that owns it",
            )
        if self._write_unfinished:
            raise StateUnavailable(
                f"A save to {self._path} has not finished, so a later one would leave a hole.",
                attempt="end this process and start again: it goes on from the last whole save",
            )
        return db

    def _make_files_private(self) -> None:
        """RocksDB makes its files by the umask; the directory's 0700 guards them until here."""
        if self._read_only:
            return
        with named_os_errors(self._directory), os.scandir(self._directory) as files:
            present = {file.name for file in files}
            for name in present - self._private:
                with suppress(FileNotFoundError):  # compaction removed it in between
                    # By name: opening and closing LOCK would give up RocksDB's lock on it.
                    (self._directory / name).chmod(0o600)
        self._private = present

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except StreamAppError:
            raise
        except Exception as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> StreamAppError:
        return name_rocksdb_error(error, self._path, read_only=self._read_only)


def _nothing(_step: str) -> None:
    """Watch no steps."""


def _refuse_missing(path: Path, directory: Path) -> None:
    with named_os_errors(path):
        present = _exists(directory / "CURRENT")
    if not present:
        raise StateUnavailable(
            f"There is no state in {path}.", attempt="check the path, or let `run` build it first"
        )


def _make_directories(path: Path, directory: Path) -> None:
    make_private_directory(path)
    make_private_directory(directory)
    with named_os_errors(path):
        fresh = not _exists(directory / "CURRENT") and not _exists(path / "saves")
    if fresh:
        SaveCount(path / "saves").write(0)


def _exists(path: Path) -> bool:
    """Unlike Path.exists, a refusal to look is an OSError and not "no"."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _column_names(directory: Path) -> list[str]:
    if not _exists(directory / "CURRENT"):
        return [_OWN]
    return list(Rdict.list_cf(str(directory), Options(raw_mode=True)))
