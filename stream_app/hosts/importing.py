"""What `import` does: a file of models into the log, from which a version begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.environment import this_environment
from stream_app.core.importing import FILE_BYTES_MAX, FileOrder, misfit, opened
from stream_app.core.log import Log
from stream_app.core.model_file import Entry, ModelHeader, require_environment
from stream_app.core.pipeline import Pipeline
from stream_app.errors import DeclarationError, UsageError
from stream_app.hosts.blob_topic import BlobTopic, sha256_of
from stream_app.hosts.controls import Signer
from stream_app.hosts.declared_versions import require_declared
from stream_app.hosts.import_orders import (
    ImportOrders,
    append_import,
    import_orders,
    require_imported_as,
)
from stream_app.hosts.known_definitions import require_known_as
from stream_app.hosts.manifests import commits
from stream_app.hosts.model_files import require_code, require_trusted
from stream_app.hosts.packing import exact_image
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning.definition import describe
from stream_app.learning.pickles import ModelPickles


class Imported(NamedTuple):
    """A file that a version begins from, and the offset of the order that acts by partition.

    `refused` are the offsets of an earlier order that began nothing. `changed` is False where
    nothing was left to order, and `restored` tells whether the log lacked the file then.
    """

    header: ModelHeader
    sha256: str
    size: int
    places: dict[int, int]
    refused: dict[int, int]
    changed: bool
    restored: bool


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
    file again changes nothing, unless its order was refused, which is then given anew; another one
    is a `UsageError` unless every partition has refused the first, as are a file that does not fit
    and a version that begins untrained. Raises `StateUntrusted` for a file that is not to be
    trusted, `EnvironmentDiffers`, `DefinitionDiffers` for a version that the log knows as another
    one, and `LogBusy` when somebody else imports at the same time.
    """
    require_begins_from_file(pipeline, version)
    found = commits(log, manifest)
    orders = import_orders(log, manifest, version, found)
    require_known_as(log, pipeline, manifest, version)
    require_imported_as(pipeline, orders)
    data = _read(path)
    header, entries = opened(data, str(path))
    require_trusted(header, path, public_key, state)
    require_environment(header, this_environment(), str(path))
    require_code(header, path, dict(pipeline.known))
    _require_fit(pipeline, version, header, entries, path)
    sha256 = sha256_of(data)
    _require_same_file(pipeline.name, orders, sha256)
    places, restored = orders.places, False
    if orders.file is not None:
        order = msgspec.convert(orders.file, FileOrder)
        restored = BlobTopic(log, pipeline.name).restore(order, data)
    if changed := orders.wants_another(signer):
        file = _in_log(log, pipeline, orders, data, sha256)
        done = append_import(log, manifest, signer, orders, file, reason, by, ts_ms)
        places = dict(done) | orders.begun
    return Imported(header, sha256, len(data), places, orders.refused, changed, restored)


def _in_log(
    log: Log, pipeline: Pipeline, orders: ImportOrders, data: bytes, sha256: str
) -> FileOrder:
    """Return what names a file in the log, which has it from an earlier order or gets it now."""
    before = {} if orders.note is None else orders.note.control.file or {}
    if before.get("sha256") == sha256:
        file = msgspec.convert(before, FileOrder)
    else:
        file = BlobTopic(log, pipeline.name).append(data)
    definition = pipeline.definitions()[orders.version]
    return msgspec.structs.replace(file, definition=definition)


def require_begins_from_file(pipeline: Pipeline, version: str) -> None:
    """Raise `UsageError` for a version that is not declared, or that begins untrained."""
    require_declared(pipeline, version, 'Version(model, start="file")')
    if pipeline.versions[version].start != "file":
        raise UsageError(
            f"{version} of {pipeline.name} begins untrained, and its state is made of the log "
            "alone",
            attempt='a new version name with Version(model, start="file")',
        )


def _require_same_file(pipeline: str, orders: ImportOrders, sha256: str) -> None:
    """Raise `UsageError` where a version begins from another file, or is still to."""
    file = orders.file
    if file is None and not orders.begun:
        return
    theirs = "" if file is None else str(file.get("sha256"))
    if theirs == sha256:
        return
    attempt = 'a new version name with Version(model, start="file")'
    if not orders.begun:
        attempt += (
            "; or this file once stream-app run has read the other one's order, if that is refused "
            "in every partition"
        )
    raise UsageError(
        f"{orders.version} of {pipeline} begins from another file"
        f"{theirs and f', {theirs[:12]}'}, and a version begins once",
        attempt=attempt,
    )


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
