"""What a version's name stands for in a log, beside what the file declares under it."""

from __future__ import annotations

from stream_app.core.commit import Manifest
from stream_app.core.joining import built_before
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.recovery import require_definitions
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import commits


def require_known_as(log: Log, pipeline: Pipeline, manifest: Manifest, version: str) -> None:
    """Raise `DefinitionDiffers` where a declared version's name means another one in the log.

    Whether the live lineage runs it, ran it before, or a backfill builds it.
    """
    for partition, commit in enumerate(commits(log, manifest)):
        if commit is not None and version in commit.versions:
            require_definitions(pipeline, commit, [version])
            continue
        built_before(commit, version, manifest, pipeline)
        backfill = built(log, manifest.pipeline, version, partition)
        if backfill is not None:
            require_definitions(pipeline, backfill, [version])
