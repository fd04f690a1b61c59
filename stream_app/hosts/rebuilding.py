"""A partition's state as of any position, from the nearest checkpoint; disturbs nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.core.commit import LIVE, Commit, Manifest, VersionCommit
from stream_app.core.environment import this_environment
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import Position, read_position
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover_backfill
from stream_app.core.store import StateReader
from stream_app.core.topics import Topics
from stream_app.errors import (
    EnvironmentDiffers,
    StateUnavailable,
    StateUntrusted,
    StreamAppError,
    UsageError,
)
from stream_app.hosts.checkpoints import saved_position
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import committed
from stream_app.hosts.overlay_store import Overlay
from stream_app.hosts.refolding import Refold, refold, temporary_store
from stream_app.hosts.state_directory import StateDirectory, backfill_lineage
from stream_app.near_names import no_version
from stream_app.storage.kept_directory import KeptDirectory
from stream_app.storage.private_files import is_there
from stream_app.storage.rocksdb_store import RocksdbStore

Progress = Callable[[int, int], None]


class Rebuilt(NamedTuple):
    """A processor that stands at a position and will put out what the next record causes.

    `checkpoint` is what it began from, None for nothing: the first record. `folded` counts the
    records since; `notes` are for a person: what could not be used. `saved` is the state that the
    processor reads, which images are saved to.
    """

    processor: PartitionProcessor
    checkpoint: Path | None
    began: int
    folded: int
    notes: list[str]
    saved: Overlay


class Place(NamedTuple):
    """One version on one partition; `commit` is the newest of the lineage that has it."""

    log: Log
    pipeline: Pipeline
    manifest: Manifest
    partition: int
    commit: Commit
    state: StateDirectory
    version: str
    definition: str

    @property
    def events(self) -> str:
        """The topic that is folded."""
        return Topics(self.pipeline.name).events


@contextmanager
def rebuilt(place: Place, offset: int, progress: Progress | None = None) -> Iterator[Rebuilt]:
    """Yield the state as of `offset`, folded in silence from the nearest checkpoint before it.

    Only the one version is folded, as a backfill would: it depends neither on the others nor on
    the seat. Checkpoints are read where they are; one that cannot be used is passed over, with a
    note, for an older one, and in the end for the first record. Raises `LogUntrusted` when the
    log no longer reaches back to any of them.
    """
    notes: list[str] = []
    if place.commit.environment != this_environment():
        notes.append(_other_environment(place.commit))
    place = _alone(place)
    for path in [*_candidates(place, offset, notes), None]:
        with ExitStack() as opened:
            try:
                found = _opened(opened, place, offset, path)
                if found is None:
                    continue
                folded = _fold(found, offset, progress)
            except (StateUntrusted, StateUnavailable, EnvironmentDiffers) as error:
                if path is None:
                    raise
                notes.append(f"the checkpoint {path.name} is not used: {error.problem}")
                continue
            yield Rebuilt(found.processor, path, found.began, folded, notes, found.saved)
            return


@contextmanager
def as_saved(place: Place, path: Path) -> Iterator[Rebuilt]:
    """Yield the state that a checkpoint holds, where it stands; nothing is folded.

    Raises `UsageError` when it lacks the version, `StateUntrusted` and `EnvironmentDiffers`.
    """
    with ExitStack() as opened:
        store = _read(opened, path)
        position = read_position(store)
        # Read only now: a checkpoint of a moment ago may be ahead of any commit read before it.
        live = committed(place.log, place.pipeline.name, place.partition) or place.commit
        place = with_version(place._replace(commit=live), place.version, 0)
        if position is None or place.version not in position.versions:
            raise UsageError(
                f"the checkpoint in {path} does not hold version {place.version}",
                attempt="a position, such as 0@1234, from which the log gives the state again",
            )
        found = _begun(opened, _alone(place), position.next_offset, position, store)
        yield Rebuilt(found.processor, path, found.began, 0, [], found.saved)


def _read(opened: ExitStack, path: Path) -> RocksdbStore:
    store = RocksdbStore.open(path, read_only=True)
    opened.callback(store.close)
    return store


def _alone(place: Place) -> Place:
    """Return the place as if its lineage had the one version, under this environment."""
    origin = place.manifest.origins[place.partition]
    commit = msgspec.structs.replace(
        place.commit,
        environment=this_environment(),
        versions={place.version: VersionCommit(place.definition, origin, origin)},
    )
    return place._replace(commit=commit)


def with_version(place: Place, version: str, needed: int) -> Place:
    """Return the place with the lineage that had folded a version up to `needed`.

    Raises `UsageError` where there is none, and for a version that is not declared any more.
    """
    live, name = place.commit, place.pipeline.name
    commit = live if version in live.versions else built(place.log, name, version, place.partition)
    if commit is not None and version in commit.versions:
        _require_built(place, commit, needed, version)
        definition = commit.versions[version].definition
    elif version in live.left_definitions and needed <= live.left[version]:
        commit, definition = live, live.left_definitions[version]
    else:
        raise _no_version(place, version)
    if version not in place.pipeline.versions:
        raise UsageError(
            f"version {version} of {name} is not declared in the file any more, so nothing can be "
            "made with its model",
            attempt=f"declare {version} again as it was, or name another one",
        )
    return place._replace(commit=commit, version=version, definition=definition)


def _require_built(place: Place, commit: Commit, needed: int, version: str) -> None:
    if needed <= commit.next_offset:
        return
    if commit is place.commit:
        raise UsageError(
            f"{place.pipeline.name}/{place.partition} has come to {commit.next_offset} only",
            attempt=f"{place.partition}@{commit.next_offset}, or stream-app run FILE to go on",
        )
    raise UsageError(
        f"the backfill of version {version} has come to {commit.next_offset} only",
        attempt=f"stream-app backfill FILE {version} to go on",
    )


def _no_version(place: Place, wanted: str) -> UsageError:
    live = place.commit
    where = f"{place.pipeline.name}/{place.partition}"
    if wanted in live.left:
        where = f"{where} (which {wanted} left at offset {live.left[wanted]})"
    attempt = ""
    if wanted in place.pipeline.versions and wanted not in live.left:
        attempt = f"one of those, or stream-app backfill FILE {wanted} first"
    return no_version(wanted, where, live.versions, attempt=attempt)


def _other_environment(commit: Commit) -> str:
    then, now = commit.environment, this_environment()
    differing = [
        f"{name} {getattr(then, name)} then, {getattr(now, name)} now"
        for name in ("python", "river", "numpy", "cpu")
        if getattr(then, name) != getattr(now, name)
    ]
    return f"another environment, so bits may differ: {'; '.join(differing)}"


def _candidates(place: Place, offset: int, notes: list[str]) -> list[Path]:
    """Return the checkpoints at or before `offset`, the nearest first.

    Of the live lineage, and of the version's backfill. What is kept says in its name where it
    stands, so none of that is opened here.
    """
    name, log_id, partition = place.pipeline.name, place.manifest.log_id, place.partition
    found: list[tuple[int, Path]] = []
    for lineage in (LIVE, backfill_lineage(place.version)):
        newest = place.state.partition(log_id, name, partition, lineage)
        try:
            kept = KeptDirectory(place.state.kept(log_id, name, partition, lineage))
            found += [(entry.next_offset, entry.path) for entry in kept.entries()]
            position = _position(newest)
        except StreamAppError as error:
            notes.append(f"checkpoints of {newest.parent} are passed over: {error.problem}")
            continue
        if position is not None:
            found.append((position.next_offset, newest))
    return [path for at, path in sorted(found, reverse=True) if at <= offset]


def newest_state(place: Place) -> Path | None:
    """Return where the newest checkpoint is that holds the version, of those that are not kept."""
    name, log_id, found = place.pipeline.name, place.manifest.log_id, list[tuple[int, Path]]()
    for lineage in (LIVE, backfill_lineage(place.version)):
        path = place.state.partition(log_id, name, place.partition, lineage)
        position = _position(path)
        if position is not None and place.version in position.versions:
            found.append((position.next_offset, path))
    return max(found)[1] if found else None


def _position(path: Path) -> Position | None:
    return saved_position(path) if is_there(path) else None


def _opened(opened: ExitStack, place: Place, offset: int, path: Path | None) -> Refold | None:
    """Return what to fold with; None if the checkpoint is a later one, or lacks the version."""
    if path is None:
        return _begun(opened, place, offset, None, None)
    store = _read(opened, path)
    # A live one may have moved on since it was looked at.
    position = read_position(store)
    if position is None or position.next_offset > offset:
        return None
    if place.version not in position.versions:
        return None
    return _begun(opened, place, offset, position, store)


def _begun(
    opened: ExitStack,
    place: Place,
    offset: int,
    position: Position | None,
    base: StateReader | None,
) -> Refold:
    """Return a processor over a state at `position`, None for the first record.

    It puts out what records from `offset` on cause.
    """
    begins = place.log.bounds(place.events, place.partition)[0]
    recovery = recover_backfill(
        place.manifest,
        place.partition,
        place.pipeline,
        place.version,
        place.commit,
        position,
        begins,
        0,
    )
    if position is not None and recovery.start.position is not position:
        raise StateUntrusted(recovery.rebuild or "it is of no use", attempt="an older one")
    begun = refold(
        place.log,
        place.pipeline,
        place.manifest,
        place.partition,
        msgspec.structs.replace(recovery.start, publish_from=offset),
        lambda: temporary_store(opened, "explain"),
        base,
        None if position is None else place.state.seal(),
    )
    opened.callback(begun.saved.close)
    return begun


def _fold(begun: Refold, offset: int, progress: Progress | None) -> int:
    """Fold up to `offset`, and return how many records that took."""
    processor = begun.processor
    before = processor.acceptance.counters.records
    for _ in begun.batches(offset):
        if progress is not None:
            progress(processor.next_offset - begun.began, offset - begun.began)
    return processor.acceptance.counters.records - before
