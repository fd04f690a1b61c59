"""A partition's state as of any position, from the nearest checkpoint; disturbs nobody."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.core.batch import Start
from stream_app.core.commit import Commit, Manifest
from stream_app.core.environment import this_environment
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import Position, read_position
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover, require_unbroken
from stream_app.core.store import NothingSaved, StateReader
from stream_app.core.topics import Topics
from stream_app.errors import (
    EnvironmentDiffers,
    OutOfResources,
    StateUnavailable,
    StateUntrusted,
    StreamAppError,
)
from stream_app.hosts.overlay_store import Overlay
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.kept_directory import KeptDirectory
from stream_app.storage.rocksdb_store import RocksdbStore

BATCH = 5000
Progress = Callable[[int, int], None]


class Rebuilt(NamedTuple):
    """A processor that stands at a position and will put out what the next record causes.

    `checkpoint` is what it began from, None for nothing: the first record. `folded` counts the
    records since; `notes` are for a person: what could not be used.
    """

    processor: PartitionProcessor
    checkpoint: Path | None
    began: int
    folded: int
    notes: list[str]


class Place(NamedTuple):
    """One partition of a pipeline that has committed something."""

    log: Log
    pipeline: Pipeline
    manifest: Manifest
    partition: int
    commit: Commit
    state: StateDirectory

    @property
    def events(self) -> str:
        """The topic that is folded."""
        return Topics(self.pipeline.name).events


@contextmanager
def rebuilt(
    place: Place, offset: int, versions: Sequence[str], progress: Progress | None = None
) -> Iterator[Rebuilt]:
    """Yield the state as of `offset`, folded in silence from the nearest checkpoint before it.

    Only `versions` are folded: no version depends on another. Checkpoints are read where they
    are; one that cannot be used is passed over, with a note, for an older one, and in the end for
    the first record. Raises `LogUntrusted` when the log no longer reaches back to any of them.
    """
    notes: list[str] = []
    commit = place.commit
    if commit.environment != this_environment():
        notes.append(_other_environment(commit))
        commit = msgspec.structs.replace(commit, environment=this_environment())
    place = place._replace(commit=commit)
    for path, position in [*_candidates(place, offset, notes), (None, None)]:
        with ExitStack() as opened:
            try:
                found = _folded(opened, place, offset, versions, path, position, progress)
            except (StateUntrusted, StateUnavailable, EnvironmentDiffers) as error:
                if path is None:
                    raise
                notes.append(f"the checkpoint {path.name} is not used: {error.problem}")
                continue
            if found is not None:
                processor, folded = found
                yield Rebuilt(processor, path, _began(place, position), folded, notes)
                return


def _began(place: Place, position: Position | None) -> int:
    return place.manifest.origins[place.partition] if position is None else position.next_offset


def _other_environment(commit: Commit) -> str:
    then, now = commit.environment, this_environment()
    differing = [
        f"{name} {getattr(then, name)} then, {getattr(now, name)} now"
        for name in ("python", "river", "numpy", "cpu")
        if getattr(then, name) != getattr(now, name)
    ]
    return f"another environment, so bits may differ: {'; '.join(differing)}"


def _candidates(place: Place, offset: int, notes: list[str]) -> list[tuple[Path, Position]]:
    """Return the checkpoints at or before `offset`, the nearest first."""
    name, log_id = place.pipeline.name, place.manifest.log_id
    found: list[tuple[Path, Position]] = []
    kept: list[Path] = []
    try:
        entries = KeptDirectory(place.state.kept(log_id, name, place.partition)).entries()
        kept = [entry.path for entry in entries if entry.next_offset <= offset]
    except StreamAppError as error:
        notes.append(f"kept checkpoints are not used: {error.problem}")
    for path in [*kept, place.state.partition(log_id, name, place.partition)]:
        try:
            position = _position(path)
        except StreamAppError as error:
            notes.append(f"the checkpoint {path.name} is not used: {error.problem}")
            continue
        if position is not None and position.next_offset <= offset:
            found.append((path, position))
    return sorted(found, key=lambda each: each[1].next_offset, reverse=True)


def _position(path: Path) -> Position | None:
    if not path.exists():
        return None
    store = RocksdbStore.open(path, read_only=True)
    try:
        return read_position(store)
    finally:
        store.close()


def _folded(
    opened: ExitStack,
    place: Place,
    offset: int,
    versions: Sequence[str],
    path: Path | None,
    position: Position | None,
    progress: Progress | None,
) -> tuple[PartitionProcessor, int] | None:
    """Return (a processor at `offset`, the records that took); None if the checkpoint is later."""
    log, pipeline, partition = place.log, place.pipeline, place.partition
    base: StateReader = NothingSaved()
    seal = BlobSeal(bytes(KEY_BYTES))
    if path is not None:
        store = RocksdbStore.open(path, read_only=True)
        opened.callback(store.close)
        # A live one has moved on, perhaps, since it was looked at.
        base, position, seal = store, read_position(store), place.state.seal()
        if position is None or position.next_offset > offset:
            return None
    begins = log.bounds(place.events, partition)[0]
    recovery = recover(
        place.manifest, partition, pipeline, place.commit, position, begins, place.commit.versions
    )
    if path is not None and recovery.start.position is not position:
        raise StateUntrusted(recovery.rebuild or "it is not used", attempt="an older one")
    reader = Overlay(base, lambda: _temporary_store(opened))
    opened.callback(reader.close)
    processor = PartitionProcessor(
        place.manifest,
        partition,
        msgspec.structs.replace(recovery.start, publish_from=offset),
        pipeline.plans(versions),
        reader,
        seal=seal,
        known=pipeline.known,
    )
    before = processor.acceptance.counters.records
    _fold(place, processor, reader, offset, recovery.start, progress)
    return processor, processor.acceptance.counters.records - before


def _fold(
    place: Place,
    processor: PartitionProcessor,
    reader: Overlay,
    offset: int,
    start: Start,
    progress: Progress | None,
) -> None:
    first = start.position.next_offset
    while processor.next_offset < offset:
        at = processor.next_offset
        wanted = min(BATCH, offset - at)
        read = place.log.read(place.events, place.partition, at, records_max=wanted)
        if read and read[0].offset > at:
            begins = place.log.bounds(place.events, place.partition)[0]
            require_unbroken(f"{place.pipeline.name}/{place.partition}", begins, at)
        records = [record for record in read if record.offset < offset]
        if not records:
            return  # a hole before it, as Kafka's logs have
        batch = processor.process(records)
        if batch.stop is not None:
            raise batch.stop
        if batch.image_due:
            reader.save(processor.image())
            processor.saved()
        if progress is not None:
            progress(processor.next_offset - first, offset - first)


def _temporary_store(opened: ExitStack) -> RocksdbStore:
    """Make a state of our own for what does not fit into memory; gone in the end."""
    try:
        folder = tempfile.mkdtemp(prefix="stream-app-explain-")
    except OSError as error:
        raise OutOfResources(
            f"no directory for a state of its own can be made: {error}.",
            attempt="free some space there, or name a directory on another disk with TMPDIR",
        ) from error
    opened.callback(shutil.rmtree, folder, ignore_errors=True)
    return RocksdbStore.open(Path(folder) / "state")
