"""`stream-app backfill`: a version built from history, beside the live ones."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.backfill_file import require_no_more, write_outputs
from stream_app.cli.logs import fact
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.stdout import emit, emit_json, emit_text, fitted_table
from stream_app.cli.table import count, duration
from stream_app.core.topics import Topics
from stream_app.counted import counted
from stream_app.errors import UsageError
from stream_app.records import format_position

if TYPE_CHECKING:
    from stream_app.hosts.backfills import BackfillPlan, Part
    from stream_app.hosts.embedded import Word
    from stream_app.hosts.stop_flag import StopFlag

INTERRUPTED = 130
_HEAD = ("PARTITION", "FROM", "TO", "RECORDS", "PUBLISHED TO", "CHECKPOINT")


@click.command()
@pipeline_file
@click.argument("version")
@click.option("--follow", is_flag=True, help="Go on right behind live until stopped.")
@options.bounds
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the outputs there, as JSON lines or to a name that ends in .parquet as Parquet, "
    "and change neither log nor state.",
)
@click.option("--dry-run", is_flag=True, help="Only show what there is to do.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes that share the partitions.  [default: as many as there are cores]",
)
@options.as_json
@options.broker
@options.state
@options.logs
def backfill(
    pipeline: str,
    version: str,
    follow: bool,
    begin: str,
    end: str,
    out: Path | None,
    dry_run: bool,
    workers: int | None,
    as_json: bool,
    broker: str,
    state: str,
) -> int:
    """Build VERSION of PIPELINE from the log's history, as if it had run from the beginning.

    Its predictions and evaluations go to PIPELINE.shadow.VERSION, its state into a lineage of its
    own, up to where live stands now. The next start of `run` takes it in beside the champion. What
    is interrupted, kill -9 too, goes on where it was; what is done already is not done again.
    """
    from stream_app.storage.address_space import require_room

    require_room()
    from stream_app.hosts.backfills import BackfillPlan
    from stream_app.hosts.backfills import backfill as build
    from stream_app.hosts.stop_flag import StopFlag

    plan = BackfillPlan(
        spec=pipeline,
        broker=broker,
        state=state,
        workers=workers or os.cpu_count() or 1,
        version=version,
        follow=follow,
        begin=begin,
        end=end,
    )
    declaration = declared(pipeline)
    name = declaration.name
    # A version keeps its definition from its first output on: the last moment to see a slip.
    for note in declaration.notes_of(version) if version in declaration.versions else ():
        fact("notice", text=f"{note}. Once built, {version} keeps this definition")
    if follow and end != "latest":
        raise UsageError(
            f"--follow goes on behind live until it is stopped, and --to {end} is an end",
            attempt="the one or the other",
        )
    if out is not None:
        require_no_more(follow=follow, dry_run=dry_run, out=out)
    if dry_run:
        _show_plan(plan, as_json=as_json)
        return 0
    flag = StopFlag()
    flag.install()
    if out is not None:
        return write_outputs(plan, out, flag)
    began = time.monotonic()
    with _view(flag, broker, name, version) as say:
        before = build(plan, say, flag)
    seconds = time.monotonic() - began
    interrupted = flag() and not follow
    _report(plan, name, before, seconds, interrupted=interrupted, as_json=as_json)
    return INTERRUPTED if flag.signal == signal.SIGINT and not follow else 0


@contextmanager
def _view(flag: StopFlag, broker: str, name: str, version: str) -> Iterator[Callable[[Word], None]]:
    from stream_app.cli.run_view import run_view
    from stream_app.hosts.embedded import Owned

    with run_view(flag, broker) as view:

        def say(word: Word) -> None:
            if isinstance(word, Owned):  # what is refused was never started
                fact("backfill_started", pipeline=name, version=version)
            view.say(word)

        yield say


def _show_plan(plan: BackfillPlan, *, as_json: bool) -> None:
    """Say what a backfill would do."""
    from stream_app.hosts.backfills import outlook
    from stream_app.hosts.log_url import open_broker

    pipeline = declared(plan.spec)
    log = open_broker(plan.broker, read_only=True)
    try:
        found = outlook(log, pipeline, plan)
    finally:
        log.close()
    if as_json:
        emit_json(found)
        return
    _table(pipeline.name, found.parts)
    if found.seconds is not None:
        processes = min(plan.workers, len(found.parts))
        took = duration(found.seconds)
        emit(f"It would take about {took} with {counted(processes, 'process', 'processes')}.")
    emit_text(
        f"Outputs would go to {Topics(pipeline.name).shadow(plan.version)}, state to {plan.state}. "
        "Nothing was done (--dry-run)."
    )


def _table(name: str, todo: Sequence[Part]) -> None:
    events = Topics(name).events
    rows = [
        (
            str(part.partition),
            format_position(events, part.partition, part.next_offset),
            format_position(events, part.partition, part.end),
            count(max(0, part.end - part.next_offset)),
            format_position(events, part.partition, part.published),
            "none" if part.checkpoint is None else f"at {count(part.checkpoint)}",
        )
        for part in todo
    ]
    for line in fitted_table(_HEAD, rows, right=(0, 3)):
        emit(line)


def _report(
    plan: BackfillPlan,
    name: str,
    before: Sequence[Part],
    seconds: float,
    *,
    interrupted: bool,
    as_json: bool,
) -> None:
    from stream_app.hosts.backfills import progressed

    todo = progressed(plan, before)
    if as_json:
        for part in todo:
            emit_json(part)
        return
    places = ", ".join(
        format_position(Topics(name).events, part.partition, part.next_offset) for part in todo
    )
    left = sum(max(0, part.end - part.next_offset) for part in todo)
    what = f"{plan.version} of {name}"
    if interrupted and left:
        much = "1 record is left" if left == 1 else f"{count(left)} records are left"
        emit_text(f"Interrupted: {what} is built up to {places}; {much}.")
        emit("The same command goes on from there.")
        return
    if all(part.next_offset >= part.end for part in before):
        emit_text(f"Nothing to do: {what} is built up to {places} already.")
    else:
        took = duration(seconds)
        far = counted(sum(max(0, part.live - part.next_offset) for part in todo), "record")
        emit_text(f"{what} is built up to {places} ({took}); {far} behind live.")
    if all(part.begin >= part.next_offset for part in todo):
        events = Topics(name).events
        places = ", ".join(format_position(events, p.partition, p.begin) for p in todo)
        emit_text(f"It has put nothing out yet: its outputs begin at {places}.")
    else:
        emit_text(f"Its outputs are in {Topics(name).shadow(plan.version)}{_since(name, todo)}.")
    emit_text(_next(plan, todo))


def _since(name: str, todo: Sequence[Part]) -> str:
    """Say where outputs begin, if that is not at the beginning."""
    late = [part for part in todo if part.begin > part.origin]
    if not late:
        return ""
    events = Topics(name).events
    places = ", ".join(format_position(events, part.partition, part.begin) for part in late)
    return f", from {places} on: those of events before that are never put out"


def _next(plan: BackfillPlan, todo: Sequence[Part]) -> str:
    from stream_app.hosts.joining import JOIN_RECORDS_MAX

    if any(part.live - part.next_offset > JOIN_RECORDS_MAX for part in todo):
        again = "the same command again"
        if plan.end != "latest":
            again = f"stream-app backfill {plan.spec} {plan.version}, which goes on to live"
        return f"Next: {again}: run takes in what is at most {JOIN_RECORDS_MAX:,} records behind."
    return f"Next: restart stream-app run {plan.spec}, which takes {plan.version} in."
