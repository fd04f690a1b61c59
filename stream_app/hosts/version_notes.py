"""What a pipeline's file says of its versions, beside what the log knows of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.importing import not_begun
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.hosts.import_orders import noted
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import commits, read_manifest
from stream_app.hosts.status import Status


def with_declared(found: Status, log: Log, pipeline: Pipeline) -> Status:
    """Return a status with what only the pipeline's file knows.

    These are the notes on its versions, and before the first record which of them wait for a file.
    """
    manifest = read_manifest(log, pipeline.name)
    waiting = [
        name
        for name, version in pipeline.versions.items()
        if version.start == "file" and noted(log, manifest, name) is None
    ]
    rows, notes = [], []
    for row in found.partitions:
        if waiting and not row.versions:
            row = msgspec.structs.replace(row, waiting_for_file=waiting)  # noqa: PLW2901
            notes += [f"partition {row.partition}: {not_begun(name)}" for name in waiting]
        rows.append(row)
    notes = [*found.notes, *notes, *_version_notes(log, pipeline, manifest), *pipeline.notes()]
    return msgspec.structs.replace(found, partitions=rows, notes=notes)


def _version_notes(log: Log, pipeline: Pipeline, manifest: Manifest) -> list[str]:
    """Return a sentence for each version of which file and log do not say the same."""
    live = [commit for commit in commits(log, manifest) if commit is not None]
    if not live:  # the first start hosts what the file declares then
        return []
    declared, known = pipeline.definitions(), dict[str, str]()
    hosted = {name for commit in live for name in commit.versions}
    for commit in live:
        known |= commit.left_definitions
        known |= {name: row.definition for name, row in commit.versions.items()}
    for name in declared:
        for partition in range(manifest.partitions):
            backfill = built(log, pipeline.name, name, partition)
            if backfill is not None:
                known.setdefault(name, backfill.versions[name].definition)
    imported = {name for name in declared if noted(log, manifest, name) is not None}
    rows = [_note(name, pipeline, known, imported) for name in sorted({*declared, *hosted})]
    return [row for row in rows if row]


def _note(
    name: str, pipeline: Pipeline, known: Mapping[str, str], imported: Collection[str]
) -> str:
    declared = pipeline.definitions()
    if name not in declared:
        return (
            f"version {name} runs, and the file does not declare it: the next start with this file "
            "ends it"
        )
    if name not in known:
        first, and_imported = "", " and imported" if name in imported else ""
        if pipeline.versions[name].start == "file" and name not in imported:
            first = f"stream-app import FILE {name} MODEL, then "
        return (
            f"version {name} is declared{and_imported} and was never run or built: "
            f"{first}stream-app backfill FILE {name} builds it"
        )
    if declared[name] != known[name]:
        return (
            f"version {name} is declared as {declared[name][:12]}, and the log has it as "
            f"{known[name][:12]}: no start takes this file; declare {name} as it was, and the "
            "changed model under a new version name"
        )
    return ""
