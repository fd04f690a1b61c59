"""`stream-app promote`: another champion, from a record in the log on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, named, pipeline_name
from stream_app.cli.progress_bar import progress_in_steps
from stream_app.cli.stdout import emit, emit_json, emit_text, fitted_table
from stream_app.cli.table import count
from stream_app.cli.typed_pipeline import pasteable
from stream_app.core.topics import Topics
from stream_app.counted import counted
from stream_app.errors import UsageError
from stream_app.hosts.pipeline_names import is_spec
from stream_app.records import format_position

if TYPE_CHECKING:
    from stream_app.core.commit import Manifest
    from stream_app.core.log import Log
    from stream_app.hosts.promoting import CutOver

_HEAD = ("PARTITION", "CHAMPION", "FROM", "STATE")


@click.command()
@pipeline_name
@click.argument("version")
@click.option("--reason", metavar="WHY", required=True, help="For the history of the seat.")
@click.option(
    "--from-committed",
    is_flag=True,
    help="For a champion that fails on every record: from the committed position on.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    metavar="N",
    default=10.0,
    show_default=True,
    help="Seconds to wait for those who are at work.",
)
@options.by
@options.as_json
@options.broker
@options.state
@options.logs
def promote(
    name: str,
    version: str,
    reason: str,
    from_committed: bool,
    wait_s: float,
    by: str | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Make VERSION the champion of PIPELINE (a name in the log, or a file).

    The order is a signed record in every partition, the last one of the old champion: from the
    next one on readers of the predictions get VERSION's, exactly one for each observation. The way
    back is to promote the old champion. The order is refused while a partition does not run
    VERSION.
    """
    from stream_app.hosts import promoting
    from stream_app.hosts.log_url import open_broker
    from stream_app.hosts.state_directory import StateDirectory

    if not reason.strip():
        raise UsageError(
            "--reason is empty, and it is what people read later",
            attempt='--reason "why, in a few words"',
        )
    directory = StateDirectory(Path(state))
    log = open_broker(broker)
    try:
        manifest = named(log, name)
        if promoting.is_champion(log, manifest, version):
            _say_same(manifest.pipeline, version, as_json=as_json)
            return
        if not from_committed:
            _ask_gate(log, manifest, name, version, as_json=as_json)
        if from_committed:
            rows = promoting.seat_at_committed(log, manifest, directory, version, reason, by)
        else:
            places = promoting.promote(log, manifest, directory, version, reason, by)
            wait_s = wait_s if _at_work(log, manifest) else 0.0
            rows = promoting.cut_overs(log, manifest, version, places, wait_s=wait_s)
        at_work = _at_work(log, manifest)
    finally:
        log.close()
    _print(manifest, version, rows, at_work=at_work, as_json=as_json)


def _ask_gate(log: Log, manifest: Manifest, name: str, version: str, *, as_json: bool) -> None:
    """Compare with the champion where the pipeline has a gate; raises `GateClosed`."""
    from stream_app.hosts.promoting import require_promotable
    from stream_app.hosts.promotion_gate import gate_of, require_better

    require_promotable(log, manifest, version)
    gate = gate_of(log, manifest, version)
    if gate is None:
        return
    plan = declared(name) if is_spec(name) else None
    with progress_in_steps() as progress:
        verdict = require_better(log, plan, manifest, gate, version, progress)
    if not as_json:
        emit_text(verdict)


def _at_work(log: Log, manifest: Manifest) -> bool:
    ledger = Topics(manifest.pipeline).ledger
    return any(log.owner(ledger, p) is not None for p in range(manifest.partitions))


def _say_same(pipeline: str, version: str, *, as_json: bool) -> None:
    if as_json:
        emit_json({"pipeline": pipeline, "version": version, "changed": False, "partitions": []})
    else:
        emit_text(f"{version} is the champion of {pipeline} already; nothing was changed")


def _print(
    manifest: Manifest, version: str, rows: Sequence[CutOver], *, at_work: bool, as_json: bool
) -> None:
    from stream_app.hosts.promoting import NOT_BEGUN

    pipeline = manifest.pipeline
    if as_json:
        emit_json({"pipeline": pipeline, "version": version, "changed": True, "partitions": rows})
        return
    events = Topics(pipeline).events
    cells = []
    for row in rows:
        champion = manifest.initial_champion if row.state == NOT_BEGUN else version
        place = format_position(events, row.partition, row.since)
        cells.append((str(row.partition), champion, place, row.state))
    for line in fitted_table(_HEAD, cells, right=(0,)):
        emit(line)
    not_begun = sum(row.state == NOT_BEGUN for row in rows)
    if not_begun and version != manifest.initial_champion:
        emit_text(
            f"{_of(not_begun, len(rows))} processed nothing yet and will begin with "
            f"{manifest.initial_champion}."
        )
        emit_text(
            f"Next: stream-app promote {pipeline} {version} --reason ... is a record there, from "
            f"which on {version} is champion of them, too."
        )
    waiting = sum(row.state not in ("champion", NOT_BEGUN) for row in rows)
    if waiting:
        emit_text(f"The order is in the log; {_of(waiting, len(rows))} not read it yet.")
        if at_work:
            emit_text(f"Next: stream-app status {pipeline} shows when they have.")
        else:
            emit_text(
                pasteable("Nobody is at work there. Next: stream-app run FILE, which reads it.")
            )


def _of(some: int, partitions: int) -> str:
    has = "has" if some == 1 else "have"
    return f"{count(some)} of {counted(partitions, 'partition')} {has}"
