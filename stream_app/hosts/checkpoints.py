"""Looks at saved state without disturbing its owner: where it stands, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.core.commit import Manifest
from stream_app.core.position import Position, read_position
from stream_app.core.store import StateReader, pages
from stream_app.errors import StateUnavailable, StateUntrusted, StreamAppError
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.kept_directory import Kept, KeptDirectory
from stream_app.storage.private_files import is_there
from stream_app.storage.rocksdb_store import RocksdbStore

SCAN_MAX = 1000


class Checkpoint(msgspec.Struct, frozen=True):
    """A partition's saved state; what is not known is None.

    `bytes` is what its directory holds, `bytes_alone` what of that no other checkpoint shares,
    `saved_ms` when it was last saved. `blobs` counts the sealed blobs that were opened, if that
    was asked for. A `kept` one stands still; its `name` is None where nobody gave it one.
    """

    partition: int
    directory: str
    exists: bool
    next_offset: int | None = None
    saved_ms: int | None = None
    bytes: int = 0
    bytes_alone: int = 0
    kept: bool = False
    name: str | None = None
    versions: list[str] = []
    rolled_back: bool = False
    blobs: int | None = None


class Looked(NamedTuple):
    """A checkpoint, and what is wrong with it."""

    checkpoint: Checkpoint
    error: StreamAppError | None


def checkpoints(manifest: Manifest, state: StateDirectory, *, verify: bool) -> list[Looked]:
    """Look at every partition's live state, and after it at what is kept of it, oldest first.

    With `verify` every sealed blob is opened too.
    """
    rows = []
    for partition in range(manifest.partitions):
        path = state.partition(manifest.log_id, manifest.pipeline, partition)
        kept = KeptDirectory(state.kept(manifest.log_id, manifest.pipeline, partition)).entries()
        seal = state.seal() if verify and (kept or is_there(path)) else None
        rows.append(look_at(path, manifest, partition, seal))
        rows += [look_at_kept(entry, manifest, partition, seal) for entry in kept]
    return rows


def look_at_kept(
    entry: Kept, manifest: Manifest, partition: int, seal: BlobSeal | None = None
) -> Looked:
    """Look at a checkpoint that is kept; one whose name says another position is not trusted."""
    seen, error = look_at(entry.path, manifest, partition, seal)
    if error is None and seen.next_offset != entry.next_offset:
        error = StateUntrusted(
            f"the checkpoint in {entry.path} stands at {seen.next_offset}, not where its name "
            "says.",
            attempt=f"rm -r {entry.path}: the state is a fold of the log",
        )
    name = entry.name or None
    replaced = msgspec.structs.replace(seen, next_offset=entry.next_offset, kept=True, name=name)
    return Looked(replaced, error)


def saved_position(path: Path) -> Position | None:
    """Return where a state stands, without disturbing its owner; None for an empty one."""
    store = RocksdbStore.open(path, read_only=True)
    try:
        return read_position(store)
    finally:
        store.close()


def look_at(path: Path, manifest: Manifest, partition: int, seal: BlobSeal | None = None) -> Looked:
    """Look at one partition's state; an error that it meets is part of the answer."""
    seen = Checkpoint(partition, str(path), exists=True)
    try:
        seen = msgspec.structs.replace(seen, exists=is_there(path))
    except StateUnavailable as error:
        return Looked(seen, error)
    if not seen.exists:
        return Looked(seen, None)
    seen = msgspec.structs.replace(
        seen,
        saved_ms=saved_ms(path),
        bytes=bytes_on_disk(path),
        bytes_alone=bytes_on_disk(path, alone=True),
    )
    try:
        store = RocksdbStore.open(path, read_only=True)
        try:
            position = read_position(store)
            seen = _described(seen, position, rolled_back=store.rolled_back)
            if seal is not None:
                context = f"{manifest.log_id}/{manifest.pipeline}/{partition}"
                blobs = verify_blobs(store, store.families(), seal, context)
                seen = msgspec.structs.replace(seen, blobs=blobs)
        finally:
            store.close()
    except StreamAppError as error:
        return Looked(seen, error)
    return Looked(seen, None)


def _described(seen: Checkpoint, position: Position | None, *, rolled_back: bool) -> Checkpoint:
    if position is None:
        return msgspec.structs.replace(seen, rolled_back=rolled_back)
    return msgspec.structs.replace(
        seen,
        next_offset=position.next_offset,
        versions=sorted(position.versions),
        rolled_back=rolled_back,
    )


def verify_blobs(store: StateReader, families: set[str], seal: BlobSeal, context: str) -> int:
    """Open every sealed blob; raises `StateUntrusted`. Families are as the core lays them out."""
    count = 0
    for family in sorted(families):
        if family == "acceptance":
            count += _verify(store, family, b"r", seal, f"{context}/feature monitors".encode())
        elif family.startswith("version."):
            place = f"{context}/{family.removeprefix('version.')}/".encode()
            count += _verify(store, family, b"r", seal, place + b"r")
            count += _verify_models(store, family, seal, place)
    return count


def _verify(store: StateReader, family: str, key: bytes, seal: BlobSeal, context: bytes) -> int:
    blob = store.get(family, key)
    if blob is None:
        return 0
    seal.open(context, blob)
    return 1


def _verify_models(store: StateReader, family: str, seal: BlobSeal, place: bytes) -> int:
    count = 0
    for entries in pages(store, family, SCAN_MAX, b"m", b"n"):
        for key, blob in entries:
            seal.open(place + key, blob)
        count += len(entries)
    return count


def saved_ms(path: Path) -> int | None:
    """Return when was saved last: a small file is replaced at every save."""
    try:
        return (path / "saves").stat().st_mtime_ns // 1_000_000
    except OSError:
        return None


def bytes_on_disk(path: Path, *, alone: bool = False) -> int:
    """Return what the files of a state directory take; `alone` counts those without other links."""
    total = 0
    for file in path.rglob("*"):
        try:
            found = file.stat()
            if not alone or found.st_nlink == 1:
                total += found.st_size
        except OSError:
            continue  # compaction removed it in between
    return total
