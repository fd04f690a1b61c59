"""`stream-app checkpoints`: the saved state, whether it is whole, and what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, named, pipeline_name
from stream_app.cli.stdout import emit, emit_json, emit_rows, emit_text, fitted_table, flush
from stream_app.cli.table import count, duration, size
from stream_app.core.commit import Manifest
from stream_app.errors import UsageError
from stream_app.hosts.checkpoints import Looked
from stream_app.hosts.checkpoints import checkpoints as look_at_all
from stream_app.hosts.kept_checkpoints import Change, KeptCheckpoints
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_names import is_spec
from stream_app.hosts.state_directory import StateDirectory

_HEAD = ("PARTITION", "NEXT OFFSET", "SAVED", "SIZE", "ALONE", "NAME", "VERSIONS", "STATE")


@click.command()
@pipeline_name
@click.option("--verify", is_flag=True, help="Also open every sealed blob.")
@click.option("--keep", metavar="NAME", help="Keep the live checkpoint for ever under a name.")
@click.option(
    "--restore",
    metavar="POSITION|NAME",
    help="Put a kept one (0@151: of partition 0) in the live one's place; only while nobody runs "
    "the pipeline.",
)
@click.option("--forget", metavar="POSITION|NAME", help="Delete a kept one.")
@click.option(
    "--prune", is_flag=True, help="Delete what the file's checkpoints=Keep(...) does not keep."
)
@click.option("--dry-run", is_flag=True, help="With --prune: only say what would be deleted.")
@click.option("--partition", type=click.IntRange(0), metavar="N", help="Change only that one's.")
@options.as_json
@options.broker
@options.state
@options.logs
def checkpoints(
    name: str,
    verify: bool,
    keep: str | None,
    restore: str | None,
    forget: str | None,
    prune: bool,
    dry_run: bool,
    partition: int | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Look at the saved state of PIPELINE (a name in the log, or a file), also while it runs.

    The first row of a partition is its live checkpoint; those below are kept beside it, so that
    `explain` is quick anywhere in the log. ALONE is what deleting one would free. A checkpoint is
    only a shortcut: what is lost is built again from the log.
    """
    _require_one(verify=verify, keep=keep, restore=restore, forget=forget, prune=prune)
    if dry_run and not prune:
        raise UsageError("--dry-run goes with --prune", attempt="--prune --dry-run")
    log = open_broker(broker, read_only=restore is None)
    try:
        manifest = named(log, name)
        directory = StateDirectory(Path(state))
        if keep is None and restore is None and forget is None and not prune:
            _list(manifest, directory, verify=verify, as_json=as_json)
            return
        kept = KeptCheckpoints(log, manifest, directory, partition)
        if keep is not None:
            changes = kept.keep(keep)
        elif restore is not None:
            changes = kept.restore(restore)
        elif forget is not None:
            changes = kept.forget(forget)
        else:
            changes = _pruned(kept, name, dry_run=dry_run)
        emit_rows(changes, _sentences(manifest, changes), as_json=as_json)
        if not changes and not as_json:
            emit_text(
                f"nothing to delete: all that {manifest.pipeline} has kept in {log.url} stays"
            )
    finally:
        log.close()


def _require_one(**wanted: object) -> None:
    given = [f"--{name}" for name, value in wanted.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} at once", attempt="one after the other")


def _pruned(kept: KeptCheckpoints, name: str, *, dry_run: bool) -> list[Change]:
    if not is_spec(name):
        raise UsageError(
            "which checkpoints are kept is declared in the pipeline's file",
            attempt="--prune with the file in place of the name",
        )
    return kept.prune(declared(name).checkpoints, dry_run=dry_run)


def _sentences(manifest: Manifest, changes: list[Change]) -> Iterable[str]:
    for change in changes:
        where = f"{manifest.pipeline}/{change.partition} at {count(change.next_offset)}"
        called = f", {change.name}" if change.name else ""
        yield f"{change.change}: {where}{called}"
        if change.change == "restored":
            yield "  the next start learns from there to the committed position again, in silence"


def _list(manifest: Manifest, state: StateDirectory, *, verify: bool, as_json: bool) -> None:
    rows = look_at_all(manifest, state, verify=verify)
    if as_json:
        for row in rows:
            problem = None if row.error is None else row.error.problem
            emit_json({"checkpoint": row.checkpoint, "problem": problem})
    else:
        for line in fitted_table(_HEAD, map(_cells, rows), right=(0, 1, 3, 4)):
            emit(line)
        for place in dict.fromkeys(str(Path(row.checkpoint.directory).parent) for row in rows[:1]):
            emit(f"in {place}")
    flush()
    for row in rows:
        if row.error is not None:
            raise row.error


def _cells(row: Looked) -> tuple[str, ...]:
    seen = row.checkpoint
    number = str(seen.partition)
    if not seen.exists:
        return number, "-", "never", "-", "-", "(live)", "-", "no checkpoint yet"
    age = "-" if seen.saved_ms is None else f"{duration(time.time() - seen.saved_ms / 1000)} ago"
    return (
        number,
        "-" if seen.next_offset is None else count(seen.next_offset),
        age,
        size(seen.bytes),
        size(seen.bytes_alone),
        (seen.name or "-") if seen.kept else "(live)",
        ", ".join(seen.versions) or "-",
        _state(row),
    )


def _state(row: Looked) -> str:
    seen = row.checkpoint
    if row.error is not None:
        return "cannot be trusted"
    words = [f"whole, {count(seen.blobs)} blobs opened" if seen.blobs is not None else "readable"]
    if seen.rolled_back:
        words.append("came back older than it was left: the log makes up for it")
    return "; ".join(words)
