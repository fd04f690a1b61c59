"""Compares a declaration's settings with the log's, and puts them into force."""

from __future__ import annotations

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.settings import differences, fixed_changes
from stream_app.errors import UsageError
from stream_app.hosts.controls import append_settings
from stream_app.hosts.manifests import commits, read_manifest, settings_in_force
from stream_app.hosts.signing_keys import signer_here
from stream_app.hosts.state_directory import StateDirectory


def changes(log: Log, pipeline: Pipeline) -> list[tuple[str, str, str]]:
    """Return (setting, the log's value, the file's value) of all that differs.

    Raises `UsageError` when one of them can never change, or a version would become another.
    """
    manifest = read_manifest(log, pipeline.name)
    _refuse_other_versions(log, manifest, pipeline)
    in_force, declared = settings_in_force(log, manifest), pipeline.settings()
    for path, old, new in fixed_changes(in_force, declared):
        raise UsageError(
            f"{path} of {pipeline.name} is {old} and can never become {new}",
            attempt="undo the change, or give the pipeline a new name",
        )
    return differences(in_force, declared)


def _refuse_other_versions(log: Log, manifest: Manifest, pipeline: Pipeline) -> None:
    """Raise `UsageError` for a file that the log's versions could not run with afterwards."""
    declared = pipeline.definitions()
    for commit in commits(log, manifest):
        if commit is None:
            continue
        for name, version in commit.versions.items():
            if declared.get(name, version.definition) != version.definition:
                raise UsageError(
                    f"version {name} of {pipeline.name} in the file is not the one in the log, "
                    "and would not run with these settings",
                    attempt=f"declare {name} as it was; where the pipeline's features change, a "
                    "version that takes all of them names those that it had: "
                    "Version(model, features=[...])",
                )


def put_into_force(
    log: Log, pipeline: Pipeline, state: StateDirectory, by: str | None
) -> list[tuple[int, int]]:
    """Append the file's settings as a signed control; returns its (partition, offset) places.

    Raises `StateUntrusted` when no key in force is here: the control would only become a dead
    letter.
    """
    manifest = read_manifest(log, pipeline.name)
    old, new = settings_in_force(log, manifest), pipeline.settings()
    return append_settings(log, manifest, lambda: signer_here(log, manifest, state), old, new, by)
