"""PIPELINE: a file that declares one, or the name of one that the log has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stream_app.cli.stderr import doing
from stream_app.cli.typed_pipeline import remember
from stream_app.core.log import Log
from stream_app.errors import UsageError
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.pipeline_names import is_spec

if TYPE_CHECKING:
    from stream_app.core.commit import Manifest
    from stream_app.core.pipeline import Pipeline

Command = TypeVar("Command", bound=Callable[..., Any])


def pipeline_file(command: Command) -> Command:
    """Take PIPELINE, which must be a declaration."""
    return click.argument("pipeline", metavar="PIPELINE", callback=remember)(command)


def pipeline_name(command: Command) -> Command:
    """Take the name of a pipeline in the log; a declaration's file will do as well."""
    return click.argument("name", metavar="PIPELINE", callback=remember)(command)


def declared(spec: str) -> Pipeline:
    """Return the pipeline that a file declares; takes seconds, for River is imported."""
    doing(f"reading {spec}")
    from stream_app.hosts.pipeline_file import load_pipeline

    if not is_spec(spec) and Path(f"{spec}.py").is_file():
        raise UsageError(f"{spec!r} is a name, and a file is wanted", attempt=f"{spec}.py")
    return load_pipeline(spec)


def named(log: Log, text: str) -> Manifest:
    """Return the manifest of the pipeline that is meant by its name or by its file."""
    if is_spec(text):
        return read_manifest(log, declared(text).name)
    return read_manifest(log, text)
