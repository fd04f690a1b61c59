"""Checkpoints that are kept beside a partition's live state: whole directories, or none."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from stream_app.errors import StateUnavailable, StreamAppError
from stream_app.storage.private_files import (
    make_private_directory,
    named_os_errors,
    refuse_writers,
    sync_directory,
)
from stream_app.storage.rocksdb_store import RocksdbStore
from stream_app.storage.save_count import SaveCount

BYTES_FREE_MIN = 256 << 20
"""Less than that, and nothing is kept: making a checkpoint writes out what is in memory, and a
RocksDB that fails there takes no more saves."""
_ENTRY = re.compile(r"(\d{20})(?:\.([a-z0-9][a-z0-9-]*))?")
_ATTEMPTS_MAX = 5
# What RocksDB never changes once it is written; everything else is copied.
_NEVER_CHANGED = (".sst", ".blob")


class Kept(NamedTuple):
    """A checkpoint that is kept: up to where, and under which name, "" for none of its own."""

    path: Path
    next_offset: int
    name: str


class KeptDirectory:
    """`<partition>.kept/`: each entry is a directory named after its position, and its name.

    An entry is made beside and renamed when it is whole and on disk, so whatever has an entry's
    name is one. Makers and removers exclude each other across processes by a kernel lock; readers
    need none. Every method raises `StateUnavailable` or `StateUntrusted`. `reached` is called
    with the name of every step; crash tests die there.
    """

    def __init__(self, path: Path, reached: Callable[[str], None] = lambda _step: None) -> None:
        self.path = path
        self._reached = reached

    @property
    def live(self) -> Path:
        """The live state that these are of."""
        return self.path.with_suffix("")

    def entries(self) -> list[Kept]:
        """Return what is kept, in the order of positions."""
        try:
            with named_os_errors(self.path):
                names = sorted(file.name for file in self.path.iterdir())
        except StateUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        refuse_writers(self.path)
        found = ((name, _ENTRY.fullmatch(name)) for name in names)
        return [Kept(self.path / name, int(m[1]), m[2] or "") for name, m in found if m]

    @contextmanager
    def changing(self, *, wait: bool = True) -> Iterator[None]:
        """Own the directory, which is made if need be, and clear away what a crash left.

        Raises `StateUnavailable` when another process owns it and `wait` is off.
        """
        make_private_directory(self.path)
        with named_os_errors(self.path):
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                for left in self.path.glob(".*"):
                    shutil.rmtree(left)
                yield
            finally:
                os.close(lock)

    def put(self, next_offset: int, name: str, make: Callable[[Path], None]) -> Kept:
        """Let `make` fill a directory and keep it; only while `changing`."""
        entry = self.path / (f"{next_offset:020d}" + (f".{name}" if name else ""))
        with self.draft() as draft, named_os_errors(entry):
            make(draft)
            self._reached("kept one made")
            draft.rename(entry)
            sync_directory(self.path)
        self._reached("kept")
        return Kept(entry, next_offset, name)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Yield a directory of a temporary name, which is gone in the end if it is still there."""
        draft = self.path / f".{uuid4().hex}"
        make_private_directory(draft)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def drop(self, kept: Kept) -> None:
        """Remove an entry, also when a crash comes in between; only while `changing`."""
        with named_os_errors(kept.path):
            gone = self.path / f".{uuid4().hex}"
            with suppress(FileNotFoundError):
                kept.path.rename(gone)
                self._reached("dropped by name")
                shutil.rmtree(gone)

    def require_room(self, live_bytes: int) -> None:
        """Raise `StateUnavailable` while the disk has less room than live work may come to need."""
        with named_os_errors(self.path):
            free = shutil.disk_usage(self.path).free
        if free < (least := live_bytes + BYTES_FREE_MIN):
            raise StateUnavailable(
                f"{self.path}: only {free >> 20} MB are free on that disk, and a checkpoint is "
                f"kept from {least >> 20} MB on.",
                attempt="free some space on that disk, or keep fewer: Pipeline(..., "
                "checkpoints=Keep(at_most=10))",
            )


def copy_state(source: Path, target: Path) -> None:
    """Put a copy of the state in `source` into `target`, also while its owner goes on saving.

    Files that never change are linked. The order is what makes it safe: first the write-ahead
    logs, then the list of files, then the files. What the owner replaces meanwhile is missing
    then, and what it saves meanwhile leaves families of different saves: opening the copy tells
    either, and the next attempt is quicker than the owner. Raises as `RocksdbStore.open` does.
    """
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        try:
            _copy_once(source, target)
            _require_whole(source, target)
            return
        except StreamAppError:
            # Caught between two saves, more likely than not; the owner's files are not to blame.
            if attempt == _ATTEMPTS_MAX:
                raise


def _require_whole(source: Path, target: Path) -> None:
    store = RocksdbStore.open(target, create=False)
    older = store.rolled_back
    store.close()
    if older:
        raise StateUnavailable(
            f"The state in {source} cannot be copied whole: it was being saved, or has lost its "
            "newest saves.",
            attempt="the same command again; --verify tells whether it is damaged",
        )


def _copy_once(source: Path, target: Path) -> None:
    make_private_directory(target)
    directory = target / "rocksdb"
    with named_os_errors(target):
        shutil.rmtree(directory, ignore_errors=True)
    make_private_directory(directory)
    saves = SaveCount(source / "saves").read()
    with named_os_errors(source):
        if saves is not None:
            SaveCount(target / "saves").write(saves)
        _copy_matching(source / "rocksdb", directory, lambda name: name.endswith(".log"))
        _copy_matching(source / "rocksdb", directory, _is_small)
        _copy_matching(source / "rocksdb", directory, lambda name: name.endswith(_NEVER_CHANGED))


def _is_small(name: str) -> bool:
    return name.startswith(("CURRENT", "MANIFEST", "OPTIONS", "rocksdict"))


def _copy_matching(source: Path, target: Path, wanted: Callable[[str], bool]) -> None:
    for name in sorted(file.name for file in source.iterdir()):
        if not wanted(name):
            continue
        try:
            if name.endswith(_NEVER_CHANGED):
                with suppress(OSError):  # another file system, or one without links
                    os.link(source / name, target / name)
                    continue
            shutil.copyfile(source / name, target / name)
            (target / name).chmod(0o600)
        except FileNotFoundError:
            continue  # the owner has replaced it; opening tells whether it is missed
