"""`stream-app keys`: who may sign controls, and how that changes."""

from __future__ import annotations

from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import named, pipeline_file
from stream_app.cli.stdout import emit_rows, fitted_table
from stream_app.errors import UsageError
from stream_app.hosts.signing_keys import KeyRow

_HEAD = ("KEY", "STATE", "PUBLIC KEY", "REACHED BY", "PRIVATE KEY")


@click.command()
@pipeline_file
@click.option("--rotate", is_flag=True, help="A new key in place of the one that is here.")
@click.option("--revoke", metavar="KEY", help="Let a key sign no more.")
@options.by
@options.as_json
@options.broker
@options.state
@options.logs
def keys(
    pipeline: str,
    rotate: bool,
    revoke: str | None,
    by: str | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Show the keys that controls of PIPELINE (a file, or a name in the log) may be signed with.

    A change is a record in the log, signed with a key that is here and in force from there on, in
    each partition from its own record. What was signed before stays valid where it is.
    """
    from stream_app.hosts import signing_keys
    from stream_app.hosts.log_url import open_broker
    from stream_app.hosts.state_directory import StateDirectory

    if rotate and revoke is not None:
        raise UsageError(
            "--rotate revokes the key that it takes the place of",
            attempt="--rotate first, then --revoke for another one",
        )
    directory = StateDirectory(Path(state))
    log = open_broker(broker)
    try:
        name = named(log, pipeline).pipeline
        if rotate:
            signing_keys.rotate(log, name, directory, by)
        elif revoke is not None:
            signing_keys.revoke(log, name, directory, revoke, by)
        rows = signing_keys.key_rows(log, name, directory)
    finally:
        log.close()
    emit_rows(rows, fitted_table(_HEAD, map(_cells, rows)), as_json=as_json)


def _cells(row: KeyRow) -> tuple[str, ...]:
    reached = ", ".join(map(str, row.reached)) or "no partition"
    return row.name, row.state, row.public_key, reached, row.file or "not here"
