"""What a pipeline's file says of its versions, beside what the log knows of them."""

from __future__ import annotations

from collections.abc import Mapping

from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import commits, read_manifest
from stream_app.near_names import no_version


def require_declared(pipeline: Pipeline, version: str, declaration: str = "Version(model)") -> None:
    """Raise `UsageError` for a version that the file does not declare; says how it would."""
    if version not in pipeline.versions:
        raise no_version(
            version,
            f"the file of {pipeline.name}",
            pipeline.versions,
            attempt=f'one of those, or versions={{..., "{version}": {declaration}}} in its file',
        )


def version_notes(log: Log, pipeline: Pipeline) -> list[str]:
    """Return a sentence for each version of which file and log do not say the same."""
    manifest = read_manifest(log, pipeline.name)
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
    rows = [_note(name, declared, known) for name in sorted({*declared, *hosted})]
    return [row for row in rows if row]


def _note(name: str, declared: Mapping[str, str], known: Mapping[str, str]) -> str:
    if name not in declared:
        return (
            f"version {name} runs, and the file does not declare it: the next start with this file "
            "ends it"
        )
    if name not in known:
        return (
            f"version {name} is declared and was never run or built: stream-app backfill FILE "
            f"{name} builds it"
        )
    if declared[name] != known[name]:
        return (
            f"version {name} is declared as {declared[name][:12]}, and the log has it as "
            f"{known[name][:12]}: no start takes this file; declare {name} as it was, and the "
            "changed model under a new version name"
        )
    return ""
