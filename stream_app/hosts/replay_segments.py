"""A replay in pieces: from kept checkpoint to kept checkpoint, by as many processes as wanted.

Every piece ends by comparing its state with the checkpoint that the next one begins from, so that
together they say what one fold from the origin says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from stream_app.core.commit import LIVE, Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.errors import StreamAppError
from stream_app.hosts.bounds import Range
from stream_app.hosts.checkpoints import saved_position
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.piece_queue import PieceQueue
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.replay import (
    Folded,
    ReplayReport,
    Segment,
    nothing_replayed,
    replay_segment,
    whole,
)
from stream_app.hosts.state_directory import StateDirectory, backfill_lineage
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.supervision import supervise
from stream_app.hosts.worker_plan import WorkerPlan
from stream_app.storage.kept_directory import KeptDirectory


class ReplayPlan(WorkerPlan, frozen=True):
    """What `replay` was asked for, and the pieces that this makes."""

    version: str | None = None
    segments: tuple[Segment, ...] = ()


class Folding(msgspec.Struct, frozen=True):
    """How many offsets of a piece are done."""

    piece: int
    done: int


def segments_of(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory | None,
    version: str | None,
    ranges: Mapping[int, Range] | None,
) -> list[Segment]:
    """Return the pieces of a replay: one for each partition, or with a `state` from its kept ones.

    Only what lies in `ranges` is compared. Raises what `replay.whole` does.
    """
    pieces: list[Segment] = []
    for partition in range(manifest.partitions):
        found = whole(log, pipeline, manifest, partition, version)
        if ranges is not None and partition not in ranges:
            continue
        if found is None:  # nothing is committed, and that is what there is to say of it
            origin = manifest.origins[partition]
            pieces.append(Segment(partition, origin, origin))
            continue
        folded, segment = found
        if ranges is not None:
            begin, end = ranges[partition]
            segment = Segment(partition, begin, min(end, segment.end))
        kept = [] if state is None else _kept(state, manifest, partition, folded)
        pieces += _cut(segment, kept)
    return pieces


def _kept(
    state: StateDirectory, manifest: Manifest, partition: int, folded: Folded
) -> list[tuple[int, str]]:
    """Return the kept checkpoints, by position, that have all versions that are folded."""
    lineage = LIVE if folded.backfill is None else backfill_lineage(folded.backfill)
    directory = state.kept(manifest.log_id, manifest.pipeline, partition, lineage)
    rows = {}
    for entry in KeptDirectory(directory).entries():
        if entry.next_offset < folded.commit.next_offset and _fits(entry.path, folded):
            rows[entry.next_offset] = str(entry.path)
    return sorted(rows.items())


def _fits(path: Path, folded: Folded) -> bool:
    try:
        position = saved_position(path)
    except StreamAppError:
        return False  # a piece more to fold, and nothing that is trusted
    if position is None or position.environment != folded.then.environment:
        return False
    return all(
        position.versions.get(name) == folded.commit.versions[name].definition
        for name in folded.versions
    )


def _cut(segment: Segment, kept: Sequence[tuple[int, str]]) -> list[Segment]:
    """Cut a stretch at the checkpoints within it; the first begins at the last one before it."""
    before = [path for at, path in kept if at <= segment.first]
    start = before[-1] if before else None
    pieces, first = [], segment.first
    for at, path in kept:
        if first < at < segment.end:
            pieces.append(Segment(segment.partition, first, at, start, path))
            first, start = at, path
    return [*pieces, Segment(segment.partition, first, segment.end, start, None)]


def replay_all(
    plan: ReplayPlan, say: Callable[[Folding], None], stopped: StopFlag
) -> list[ReplayReport]:
    """Replay every piece, in as many processes as `plan.workers`; returns a report of each."""
    reports: list[ReplayReport] = []

    def hear(word: object) -> None:
        if isinstance(word, ReplayReport):
            reports.append(word)
        elif isinstance(word, Folding):
            say(word)

    workers = max(1, min(plan.workers, len(plan.segments)))
    # The longest first: what is left for the end is short, so that nobody waits for long.
    pieces = sorted(range(len(plan.segments)), key=lambda piece: -_length(plan.segments[piece]))
    if workers == 1:
        _work(plan, (), pieces, hear, stopped)
        return _in_order(reports)
    queue = PieceQueue(pieces)
    try:
        supervise(_work, plan, [(number,) for number in range(workers)], queue, hear, stopped)
    finally:
        queue.close()
    return _in_order(reports)


def _length(segment: Segment) -> int:
    return segment.end - segment.first


def _in_order(reports: Sequence[ReplayReport]) -> list[ReplayReport]:
    return sorted(reports, key=lambda report: (report.partition, report.start))


def _tell(say: Callable[[object], None], piece: int, done: int, _total: int) -> None:
    say(Folding(piece, done))


def _work(
    plan: ReplayPlan,
    _worker: Sequence[int],
    pieces: Iterable[int],
    say: Callable[[object], None],
    stopped: Callable[[], bool],
) -> None:
    """Replay pieces until none is left, beside others who take from the same ones."""
    pipeline, state = load_pipeline(plan.spec), StateDirectory(Path(plan.state))
    log = open_broker(plan.broker, read_only=True)
    try:
        manifest = read_manifest(log, pipeline.name)
        for piece in pieces:
            segment = plan.segments[piece]
            found = whole(log, pipeline, manifest, segment.partition, plan.version)
            if stopped():
                return
            if found is None:
                say(nothing_replayed(manifest, segment.partition))
                continue
            say(
                replay_segment(
                    log,
                    pipeline,
                    manifest,
                    found[0],
                    segment,
                    state=state,
                    progress=partial(_tell, say, piece),
                    stopped=stopped,
                )
            )
    finally:
        log.close()
