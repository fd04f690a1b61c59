"""`stream-app checkpoints`: the saved state, and whether it is whole."""

from __future__ import annotations

import time
from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import named, pipeline_name
from stream_app.cli.stdout import emit, emit_json, flush
from stream_app.cli.table import count, duration, size, table_lines
from stream_app.hosts.checkpoints import Looked
from stream_app.hosts.checkpoints import checkpoints as look_at_all
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.state_directory import StateDirectory

_HEAD = ("PARTITION", "NEXT OFFSET", "SAVED", "SIZE", "VERSIONS", "STATE", "DIRECTORY")


@click.command()
@pipeline_name
@click.option("--verify", is_flag=True, help="Also open every sealed blob.")
@options.as_json
@options.broker
@options.state
@options.logs
def checkpoints(name: str, verify: bool, as_json: bool, broker: str, state: str) -> None:
    """Look at the saved state of PIPELINE (a name in the log, or a file), also while it runs.

    A checkpoint is only a shortcut: what is lost is built again from the log.
    """
    log = open_broker(broker, read_only=True)
    try:
        manifest = named(log, name)
    finally:
        log.close()
    rows = look_at_all(manifest, StateDirectory(Path(state)), verify=verify)
    if as_json:
        for row in rows:
            problem = None if row.error is None else row.error.problem
            emit_json({"checkpoint": row.checkpoint, "problem": problem})
    else:
        for line in table_lines(_HEAD, map(_cells, rows), right=(0, 1, 3)):
            emit(line)
    flush()
    for row in rows:
        if row.error is not None:
            raise row.error


def _cells(row: Looked) -> tuple[str, ...]:
    seen = row.checkpoint
    if not seen.exists:
        return str(seen.partition), "-", "never", "-", "-", "no checkpoint yet", seen.directory
    age = "-" if seen.saved_ms is None else f"{duration(time.time() - seen.saved_ms / 1000)} ago"
    return (
        str(seen.partition),
        "-" if seen.next_offset is None else count(seen.next_offset),
        age,
        size(seen.bytes),
        ", ".join(seen.versions) or "-",
        _state(row),
        seen.directory,
    )


def _state(row: Looked) -> str:
    seen = row.checkpoint
    if row.error is not None:
        return "cannot be trusted"
    words = [f"whole, {count(seen.blobs)} blobs opened" if seen.blobs is not None else "readable"]
    if seen.rolled_back:
        words.append("came back older than it was left: the log makes up for it")
    return "; ".join(words)
