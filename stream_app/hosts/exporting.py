"""What `export` does: a version's models as of a position, out of a state that nobody notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as release
from pathlib import Path
from typing import NamedTuple

from stream_app.codec.signatures import public_key
from stream_app.core.commit import LIVE, Manifest
from stream_app.core.environment import this_environment
from stream_app.core.importing import no_model_yet
from stream_app.core.log import Log
from stream_app.core.model_file import Entry, ModelHeader, Origin
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.core.version import VersionFold
from stream_app.errors import LogUntrusted, StateUnavailable, UsageError
from stream_app.hosts.event_positions import event_position, require_meant
from stream_app.hosts.manifests import committed
from stream_app.hosts.model_files import write_model_file
from stream_app.hosts.rebuilding import (
    Place,
    Progress,
    Rebuilt,
    as_saved,
    newest_state,
    rebuilt,
    with_version,
)
from stream_app.hosts.signing_keys import signer_here
from stream_app.hosts.state_directory import StateDirectory, backfill_lineage
from stream_app.near_names import did_you_mean
from stream_app.records import format_position
from stream_app.storage.kept_directory import Kept, KeptDirectory

LATEST = "latest"
_OFFSET = re.compile(r"\d{1,18}")


class Exported(NamedTuple):
    """A file that was written; `notes` are for a person."""

    header: ModelHeader
    checkpoint: Path | None
    folded: int
    notes: list[str]


def export(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    version: str,
    path: Path,
    *,
    at: str = LATEST,
    partition: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a version's models into a file, as they were before the record at `at` was read.

    `at` is a position, the name of a kept checkpoint, or "latest": the newest checkpoint. Equal
    states of one checkpoint give equal bytes. Writes nothing to log or state, also while the
    pipeline runs. Raises `UsageError` for what is not there, `LogUntrusted`, `StateUntrusted`.
    """
    number, offset = _meant(manifest, at, partition)
    live = committed(log, pipeline.name, number)
    if live is None:
        raise UsageError(
            f"{pipeline.name}/{number} has processed nothing yet in {log.url}",
            attempt="stream-app run FILE",
        )
    place = Place(log, pipeline, manifest, number, live, state, "", "")
    place = with_version(place, version, 0 if offset is None else offset)
    signer = signer_here(log, manifest, state)
    with _state(place, at, offset, progress) as found:
        [fold] = found.processor.versions
        if fold.waits_for_file:
            events, stands = Topics(pipeline.name).events, found.processor.next_offset
            raise no_model_yet(version, format_position(events, number, stands))
        header = _header(place, found, signer.name, signer.private_key)
        header = write_model_file(path, header, _entries(fold), signer.private_key)
        return Exported(header, found.checkpoint, found.folded, found.notes)


def _meant(manifest: Manifest, at: str, partition: int | None) -> tuple[int, int | None]:
    """Return (partition, offset), None for an offset that a checkpoint is to tell."""
    position = event_position(at, manifest)
    named = None if position is None else position.partition
    if None not in (named, partition) and named != partition:
        raise UsageError(f"--at {at} and --partition {partition}", attempt="one of them")
    number = named if named is not None else partition
    if number is None and manifest.partitions > 1:
        raise UsageError(
            f"{manifest.pipeline} has {manifest.partitions} partitions, each with models of its "
            "own",
            attempt="--partition N",
        )
    number = number or 0
    require_meant(manifest.pipeline, number, manifest.partitions)
    if position is not None:
        return number, position.offset
    return number, int(at) if _OFFSET.fullmatch(at) else None


@contextmanager
def _state(
    place: Place, at: str, offset: int | None, progress: Progress | None
) -> Iterator[Rebuilt]:
    if offset is None:
        with as_saved(place, _checkpoint(place, at)) as found:
            yield found
        return
    if offset < place.manifest.origins[place.partition]:
        raise LogUntrusted(
            f"{place.pipeline.name}/{place.partition} begins at "
            f"{place.manifest.origins[place.partition]}: there is no state before that.",
            attempt="a position from there on",
        )
    with rebuilt(place, offset, progress) as found:
        if found.folded:
            found.saved.save(found.processor.image())
            found.processor.saved()
        yield found


def _checkpoint(place: Place, at: str) -> Path:
    """Return the directory of the newest checkpoint that has the version, or of a kept one."""
    if at == LATEST:
        path = newest_state(place)
        if path is None:
            raise StateUnavailable(
                f"{place.pipeline.name}/{place.partition} has no checkpoint of {place.version} in "
                f"{place.state.root}.",
                attempt=f"--at {place.partition}@{place.commit.next_offset}, which folds it from "
                "the log; or --state with the directory where it is",
            )
        return path
    kept = _kept(place)
    for entry in kept:
        if entry.name == at:
            return entry.path
    name = place.pipeline.name
    raise UsageError(
        f"{at!r} is no position, and {name} has kept no checkpoint of that name"
        f"{did_you_mean(at, [entry.name for entry in kept if entry.name])}",
        attempt=f"{place.partition}@{place.commit.next_offset}, {LATEST}, or one that stream-app "
        f"checkpoints {name} lists",
    )


def _kept(place: Place) -> list[Kept]:
    name, log_id = place.pipeline.name, place.manifest.log_id
    return [
        entry
        for lineage in (LIVE, backfill_lineage(place.version))
        for entry in KeptDirectory(
            place.state.kept(log_id, name, place.partition, lineage)
        ).entries()
    ]


def _header(place: Place, found: Rebuilt, key_name: str, private_key: bytes) -> ModelHeader:
    [fold] = found.processor.versions
    plan = fold.plan
    origin = Origin(
        pipeline=place.pipeline.name,
        log_id=place.manifest.log_id,
        version=place.version,
        definition=place.definition,
        partition=place.partition,
        next_offset=found.processor.next_offset,
        chain=found.processor.chain.hex(),
        state_digest=fold.digest().hex(),
    )
    return ModelHeader(
        origin=origin,
        environment=this_environment(),
        task=plan.task.fields(),
        features=None if plan.features is None else list(plan.features),
        keyed=plan.keyed,
        models=0,
        learned=0,
        failed=fold.failed,
        own=place.pipeline.own_code(place.version),
        content_bytes=0,
        content_sha256="",
        created_by=f"stream-app {release('stream-app')}",
        key_name=key_name,
        public_key=public_key(private_key).hex(),
    )


def _entries(fold: VersionFold) -> Iterator[Entry]:
    """Yield the version's models; the one of all keys also before it has met an event."""
    some = False
    for key, learned, image in fold.models.stored():
        some = True
        yield Entry(key, learned, image)
    if not some and not fold.plan.keyed:
        yield Entry("", 0, fold.plan.prototype)
