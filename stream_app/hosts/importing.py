"""What `import` does: a file of models into the log, from which a version begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.core.commit import Manifest
from stream_app.core.environment import this_environment
from stream_app.core.importing import FILE_BYTES_MAX, misfit, opened
from stream_app.core.joining import built_before
from stream_app.core.log import Log
from stream_app.core.model_file import Entry, ModelHeader, require_environment
from stream_app.core.pipeline import Pipeline
from stream_app.core.recovery import require_definitions
from stream_app.core.topics import Topics
from stream_app.errors import DeclarationError, DefinitionDiffers, LogUntrusted, UsageError
from stream_app.hosts.blob_topic import BlobTopic, sha256_of
from stream_app.hosts.controls import (
    ImportNote,
    Signer,
    append_again,
    append_import,
    import_note_key,
)
from stream_app.hosts.declared_versions import require_declared
from stream_app.hosts.manifests import commits, ledger_note
from stream_app.hosts.model_files import require_code, require_trusted
from stream_app.hosts.packing import exact_image
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning.definition import describe
from stream_app.learning.pickles import ModelPickles

BATCH = 1000


class Imported(NamedTuple):
    """A file that a version begins from, and the order's offset by partition.

    `changed` is False where the very same order was in the log already.
    """

    header: ModelHeader
    sha256: str
    size: int
    places: dict[int, int]
    changed: bool


def import_file(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    signer: Callable[[], Signer],
    version: str,
    path: Path,
    *,
    public_key: str | None = None,
    reason: str | None = None,
    by: str | None = None,
    ts_ms: int | None = None,
) -> Imported:
    """Put a file into the log and order a version to begin from it, in every partition.

    `ts_ms` is the order's time, by default now; `signer` returns a key in force whenever asked.

    Everything that the fold would stumble over is looked at before. A version begins once: the same
    file again changes nothing, another one is a `UsageError`, as are a file that does not fit and a
    version that begins untrained. Raises `StateUntrusted` for a file that is not to be trusted,
    `EnvironmentDiffers`, `DefinitionDiffers` for a version that the log knows as another one, and
    `LogBusy` when somebody else imports at the same time.
    """
    require_begins_from_file(pipeline, version)
    _require_known_as(log, pipeline, manifest, version)
    data = _read(path)
    header, entries = opened(data, str(path))
    require_trusted(header, path, public_key, state)
    require_environment(header, this_environment(), str(path))
    require_code(header, path, dict(pipeline.known))
    _require_fit(pipeline, version, header, entries, path)
    before = noted(log, manifest, version)
    if before is None:
        named = BlobTopic(log, pipeline.name).append(data)
        sha256 = named.sha256
        named = msgspec.structs.replace(named, definition=pipeline.definitions()[version])
        append_import(log, manifest, signer, version, named, reason, by, ts_ms)
    elif (before.control.file or {}).get("sha256") != (sha256 := sha256_of(data)):
        raise _begun_otherwise(pipeline.name, version, before)
    elif not _begun(log, manifest, version):
        append_again(log, manifest, signer, before.control)
    places = import_places(log, manifest, version)
    return Imported(header, sha256, len(data), places, changed=before is None)


def _begun(log: Log, manifest: Manifest, version: str) -> bool:
    """Tell whether every partition has made of a version's order what is to be made."""
    return all(
        commit is not None
        and version in commit.versions
        and version not in (commit.waiting_for_file or [])
        for commit in commits(log, manifest)
    )


def require_begins_from_file(pipeline: Pipeline, version: str) -> None:
    """Raise `UsageError` for a version that is not declared, or that begins untrained."""
    require_declared(pipeline, version, 'Version(model, start="file")')
    if pipeline.versions[version].start != "file":
        raise UsageError(
            f"{version} of {pipeline.name} begins untrained, and its state is made of the log "
            "alone",
            attempt='a new version name with Version(model, start="file")',
        )


def _require_known_as(log: Log, pipeline: Pipeline, manifest: Manifest, version: str) -> None:
    """Raise `DefinitionDiffers` where a version's name means another one in the log."""
    for commit in commits(log, manifest):
        if commit is not None and version in commit.versions:
            require_definitions(pipeline, commit, [version])
        else:
            built_before(commit, version, manifest, pipeline)
    require_imported_as(log, pipeline, manifest, version)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise UsageError(
                f"{path} has {size:,} bytes, and a version begins from at most "
                f"{FILE_BYTES_MAX:,}: all of it is in memory then",
                attempt="a smaller model; one model for each of very many keys begins untrained",
            )
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            attempt="the path of a file of stream-app export",
        ) from None


def _require_fit(
    pipeline: Pipeline, version: str, header: ModelHeader, entries: list[Entry], path: Path
) -> None:
    """Raise `UsageError` unless the file's models are what the version declares."""
    [plan] = pipeline.plans([version])
    wrong = misfit(header, plan)
    if wrong:
        raise UsageError(
            f"{path} does not fit {version}: {wrong}",
            attempt=f"a declaration of {version} that goes with the file, under a name of its own",
        )
    declared, known = pipeline.tree(version), dict(pipeline.known)
    for entry in entries:
        model = ModelPickles(known).loads(entry.image)
        found = first_difference(declared, describe(model), "model")
        if found is not None:
            place, ours, theirs = found
            raise UsageError(
                f"{path} does not fit {version}: {place} is {theirs} there, and {ours} in "
                f"{version} as it learns here",
                attempt=f'train what pipeline.untrained("{version}") returns, which has all that '
                "is filled in here; or declare what was trained, under a name of its own",
            )
        try:
            exact_image(model, known)
        except DeclarationError as error:
            raise UsageError(
                f"{path} does not fit: {error.problem}", attempt=error.attempt
            ) from None


def first_difference(ours: object, theirs: object, path: str) -> tuple[str, str, str] | None:
    """Return (place, our value, their value) where two trees differ first; None if they do not."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys([*ours, *theirs]):
            where = path if name in ("params", "steps", "object") else f"{path}.{name}"
            found = first_difference(ours.get(name), theirs.get(name), where)
            if found is not None:
                return found
        return None
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            found = first_difference(one, other, f"{path}[{i}]")
            if found is not None:
                return found
        return None
    return None if ours == theirs else (path, _shown(ours), _shown(theirs))


def _shown(value: object) -> str:
    return "the default" if value is None else repr(value)[:200]


def _begun_otherwise(pipeline: str, version: str, before: ImportNote) -> UsageError:
    file = str((before.control.file or {}).get("sha256"))[:12]
    return UsageError(
        f"{version} of {pipeline} begins from another file, {file}, and a version begins once",
        attempt='a new version name with Version(model, start="file")',
    )


def noted(log: Log, manifest: Manifest, version: str) -> ImportNote | None:
    """Return the ledger's note of a version's order; None where nothing was imported."""
    what = f"the file from which {version} begins"
    return ledger_note(log, manifest.pipeline, import_note_key(version), ImportNote, what)


def require_imported_as(log: Log, pipeline: Pipeline, manifest: Manifest, version: str) -> None:
    """Raise `DefinitionDiffers` where what was imported are the models of another definition."""
    note = noted(log, manifest, version)
    theirs = None if note is None else (note.control.file or {}).get("definition")
    declared = pipeline.definitions()[version]
    if theirs not in (None, declared):
        raise DefinitionDiffers(
            f"version {version} of {manifest.pipeline} is declared as {declared[:12]}, but the "
            f"file that it begins from was imported for {str(theirs)[:12]}.",
            attempt=f"declare {version} as it was, and this one under a name of its own",
        )


def import_places(log: Log, manifest: Manifest, version: str) -> dict[int, int]:
    """Return the offset of a version's `import` control in each partition.

    Raises `UsageError` where nothing was imported, `LogUntrusted` where the order is gone.
    """
    note = noted(log, manifest, version)
    if note is None:
        raise UsageError(
            f"{version} of {manifest.pipeline} begins from a file, and none was imported",
            attempt=f"stream-app import FILE {version} MODEL, with a file of stream-app export or "
            "of stream_app.pack_model",
        )
    value = encode_event(note.control).value
    return {
        partition: _place(log, manifest, version, partition, end, value)
        for partition, end in enumerate(note.ends)
    }


def _place(
    log: Log, manifest: Manifest, version: str, partition: int, offset: int, value: bytes
) -> int:
    topic = Topics(manifest.pipeline).events
    while records := log.read(topic, partition, offset, records_max=BATCH):
        for record in records:
            if record.value == value:
                return record.offset
        offset = records[-1].offset + 1
    raise LogUntrusted(
        f"the order from which {version} of {manifest.pipeline} begins is not in "
        f"{topic}/{partition}, and its ledger says that it was.",
        attempt="restore the log from a backup",
    )
