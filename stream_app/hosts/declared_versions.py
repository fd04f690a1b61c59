"""Which versions a pipeline's file declares."""

from __future__ import annotations

from stream_app.core.pipeline import Pipeline
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
