"""`stream-app replay`: fold the log again and compare with what was published."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.progress_bar import progress_bar
from stream_app.cli.stdout import emit, emit_json, emit_text
from stream_app.cli.table import count, table_lines
from stream_app.counted import counted
from stream_app.errors import DifferenceFound
from stream_app.hosts.log_url import open_broker

if TYPE_CHECKING:
    from stream_app.hosts.bounds import Bounds
    from stream_app.hosts.replay import ReplayReport, Segment
    from stream_app.hosts.replay_segments import Folding, ReplayPlan

SHOWN_CHARS_MAX = 300


@click.command()
@pipeline_file
@click.option("--version", metavar="V", help="Only this version, also one that a backfill builds.")
@options.bounds
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Processes. With several the fold is cut at kept checkpoints, each of which is compared.",
)
@options.as_json
@options.broker
@options.state
@options.logs
def replay(
    pipeline: str,
    version: str | None,
    begin: str,
    end: str,
    workers: int,
    as_json: bool,
    broker: str,
    state: str,
) -> int:
    """Fold PIPELINE's log again, in a fresh state, and compare every output with the published one.

    Key, value and headers of all outputs, state digests among them, must equal what live has
    published, across all changes of the champion. What is learned is always from the origin, what
    is compared lies between --from and --to. Writes nothing to the log and opens no live state.
    Exit code 3 when there is a difference.
    """
    from stream_app.storage.address_space import require_room

    require_room()
    from stream_app.hosts.warm_forks import FOLDING, warm_up

    if workers > 1:
        warm_up(*FOLDING)  # first of all: it takes as long as this process's own imports
    from stream_app.hosts.bounds import parse_bounds
    from stream_app.hosts.replay_segments import ReplayPlan, replay_all
    from stream_app.hosts.stop_flag import StopFlag

    bounds = parse_bounds(begin, end, time.time_ns() // 1_000_000)
    flag = StopFlag()
    flag.install()
    plan = ReplayPlan(
        spec=pipeline,
        broker=broker,
        state=state,
        workers=workers,
        version=version,
    )
    name = declared(pipeline).name
    plan = msgspec.structs.replace(plan, segments=_segments(plan, bounds))
    with _progress(name, plan.segments) as say:
        pieces = replay_all(plan, say, flag)
    reports = _by_partition(pieces, interrupted=flag())
    for report in reports:
        _print(report, name, as_json=as_json)
    _raise_difference(broker, name, reports)
    return 130 if flag.signal == signal.SIGINT else 0


def _segments(plan: ReplayPlan, bounds: Bounds) -> tuple[Segment, ...]:
    from stream_app.hosts.bounds import Bounds, ranges_of
    from stream_app.hosts.manifests import read_manifest, require_same_events
    from stream_app.hosts.replay_segments import segments_of
    from stream_app.hosts.state_directory import StateDirectory

    pipeline = declared(plan.spec)
    log = open_broker(plan.broker, read_only=True)
    try:
        manifest = read_manifest(log, pipeline.name)
        require_same_events(log, manifest)
        ranges = None
        if bounds != Bounds():
            ranges = ranges_of(log, manifest, bounds, known=pipeline.known)
        state = StateDirectory(Path(plan.state)) if plan.workers > 1 else None
        return tuple(segments_of(log, pipeline, manifest, state, plan.version, ranges))
    finally:
        log.close()


@contextmanager
def _progress(name: str, segments: Sequence[Segment]) -> Iterator[Callable[[Folding], None]]:
    total = sum(piece.end - piece.first for piece in segments)
    done = [0] * len(segments)
    with progress_bar(f"replaying {name}", total) as advance:

        def say(word: Folding) -> None:
            done[word.piece] = word.done
            advance(sum(done))

        yield say


def _by_partition(pieces: Sequence[ReplayReport], *, interrupted: bool) -> list[ReplayReport]:
    """Put the pieces of each partition together; those that were not reached leave it shorter.

    What comes after a gap that an interruption left counts only for a difference: nobody may read
    that all up to there is equal.
    """
    reports: dict[int, ReplayReport] = {}
    for piece in pieces:
        before = reports.get(piece.partition)
        if before is None:
            reports[piece.partition] = piece
        elif not interrupted or piece.start == before.next_offset or piece.difference:
            reports[piece.partition] = before.followed_by(piece)
    return list(reports.values())


def _print(report: ReplayReport, name: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(report)
        return
    if report.difference is not None:
        return
    since = f", compared from offset {count(report.start)}" if report.start else ""
    digests = "no state digest there"
    if report.digests:
        digests = f"{counted(report.digests, 'state digest')} equal"
    cut = "" if report.pieces == 1 else f" in {report.pieces} pieces, their ends compared,"
    emit_text(
        f"{name}/{report.partition}: no difference in {counted(report.records, 'record')} folded "
        f"again,{cut} up to offset {count(report.next_offset)}{since}; {digests}"
    )
    rows = [(f"  {topic}", count(number)) for topic, number in report.outputs.items()]
    for line in table_lines(("  TOPIC", "COMPARED"), rows, right=[1]) if rows else ():
        emit(line)
    if report.skipped:
        gone = f"{counted(report.skipped, 'output')} gone by retention and not compared"
        emit_text(gone, indent="  ")
    if report.not_compared:
        emit_text(f"not compared: {', '.join(report.not_compared)}", indent="  ")


def _raise_difference(broker: str, name: str, reports: list[ReplayReport]) -> None:
    from stream_app.hosts.manifests import committed
    from stream_app.hosts.replay import likely_cause

    for report in reports:
        if report.difference is None:
            continue
        found = report.difference
        log = open_broker(broker, read_only=True)
        try:
            commit = committed(log, name, report.partition)
        finally:
            log.close()
        cause = "unknown" if commit is None else likely_cause(commit)
        raise DifferenceFound(
            f"{found.position}, caused by {found.source}, differs in {found.field}: published "
            f"{_shown(found.published)}, recomputed {_shown(found.recomputed)}. Likely: {cause}.",
            attempt=f"stream-app consume {found.position.partition('/')[0]} --from "
            f"{found.position} --limit 1 to see what is there",
        )


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value if len(value) <= SHOWN_CHARS_MAX else f"{value[:SHOWN_CHARS_MAX]}..."
