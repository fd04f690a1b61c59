"""Replay: fold the log again and compare with what was published, across past promotions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.core.batch import Start
from stream_app.core.commit import Commit, Manifest
from stream_app.core.environment import this_environment
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import Position, read_position
from stream_app.core.recovery import recover, recover_backfill
from stream_app.core.seats import NEVER
from stream_app.core.store import StateStore
from stream_app.core.topics import Topics
from stream_app.errors import (
    LogUntrusted,
    PositionMissing,
    StateUntrusted,
    UsageError,
)
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.joining import built
from stream_app.hosts.left_versions import after_they_left
from stream_app.hosts.manifests import committed
from stream_app.hosts.published import published_topic
from stream_app.hosts.published_rows import Difference, PublishedRows, source_offset
from stream_app.hosts.refolding import Refold, refold, temporary_store
from stream_app.hosts.state_directory import StateDirectory
from stream_app.near_names import no_version
from stream_app.records import Output, format_position
from stream_app.storage.rocksdb_store import RocksdbStore


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay of one partition compared: what events in [`start`, `next_offset`) caused.

    `records` were folded. `not_compared` are versions with outputs that were not made again.
    """

    partition: int
    records: int
    next_offset: int
    outputs: dict[str, int]
    skipped: int
    digests: int
    not_compared: list[str]
    difference: Difference | None
    start: int = 0
    pieces: int = 1

    def followed_by(self, other: ReplayReport) -> ReplayReport:
        """Return this report and the one of the next piece as one."""
        return ReplayReport(
            partition=self.partition,
            records=self.records + other.records,
            next_offset=other.next_offset,
            outputs={name: n + other.outputs.get(name, 0) for name, n in self.outputs.items()},
            skipped=self.skipped + other.skipped,
            digests=self.digests + other.digests,
            not_compared=sorted({*self.not_compared, *other.not_compared}),
            difference=self.difference or other.difference,
            start=self.start,
            pieces=self.pieces + other.pieces,
        )


class Segment(msgspec.Struct, frozen=True):
    """What to fold and compare in one go: the outputs of events in [`first`, `end`).

    The fold begins at a kept `checkpoint`, or at the origin. Where it ends at a `closing` one, that
    has to have the very state that the fold came to.
    """

    partition: int
    first: int
    end: int
    checkpoint: str | None = None
    closing: str | None = None


class Folded(msgspec.Struct, frozen=True):
    """What is folded: a lineage's versions, up to where it has committed.

    `commit` is as it was written, `then` as of this environment, so that any may fold it again.
    """

    commit: Commit
    then: Commit
    versions: tuple[str, ...]
    backfill: str | None


def whole(
    log: Log, pipeline: Pipeline, manifest: Manifest, partition: int, version: str | None
) -> tuple[Folded, Segment] | None:
    """Return all there is to replay of a partition; None where nothing is committed.

    Raises `UsageError` for a version that is unknown there, and `LogUntrusted` where the log no
    longer reaches back to the origin.
    """
    folded = _folded(log, pipeline, manifest, partition, version)
    if folded is None:
        _require_nothing_published(log, pipeline, partition)
        return None
    return folded, Segment(partition, manifest.origins[partition], folded.commit.next_offset)


def replay(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    partition: int,
    *,
    version: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ReplayReport:
    """Fold one partition from its origin to its committed position; writes nothing to the log.

    Of all versions that live runs, or of one `version`, which may be one that a backfill builds.
    Uses a state of its own in a temporary directory. Outputs that retention has removed are
    skipped. `progress` hears (records done, records in all).
    """
    found = whole(log, pipeline, manifest, partition, version)
    if found is None:
        return nothing_replayed(manifest, partition)
    return replay_segment(log, pipeline, manifest, *found, progress=progress, stopped=stopped)


def nothing_replayed(manifest: Manifest, partition: int) -> ReplayReport:
    """Return the report of a partition in which nothing was ever committed."""
    return ReplayReport(partition, 0, manifest.origins[partition], {}, 0, 0, [], None)


def replay_segment(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    folded: Folded,
    segment: Segment,
    *,
    state: StateDirectory | None = None,
    progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ReplayReport:
    """Fold and compare a segment; `state` has the seal of the checkpoints that it names."""
    calm_garbage_collector()
    with ExitStack() as opened:
        # Made at once: who has no room for it is told before hours of folding.
        scratch = temporary_store(opened, "replay")
        ground = _Ground(log, pipeline, manifest, folded, segment, state)
        return _Replay(ground, scratch, opened).run(progress, stopped)


def _folded(
    log: Log, pipeline: Pipeline, manifest: Manifest, partition: int, version: str | None
) -> Folded | None:
    """Return what to fold; None where nothing is committed. Raises `UsageError`."""
    live = committed(log, pipeline.name, partition)
    _require_origin(log, manifest, partition)
    if live is not None and (version is None or version in live.versions):
        declared = [name for name in live.versions if name in pipeline.versions]
        if version is not None and version not in declared:
            raise _undeclared(pipeline, version)
        names = tuple(declared) if version is None else (version,)
        return Folded(live, _of_today(live), names, None)
    if live is None or version is None:
        return None
    commit = built(log, pipeline.name, version, partition)
    if version not in pipeline.versions or commit is None:
        raise no_version(
            version,
            f"{pipeline.name}/{partition}",
            live.versions,
            attempt=f"--version with one of those, or stream-app backfill FILE {version} first",
        )
    return Folded(commit, _of_today(commit), (version,), version)


def _of_today(commit: Commit) -> Commit:
    """Return a commit that this environment may go on from: to compare is to try."""
    return msgspec.structs.replace(commit, environment=this_environment())


def _undeclared(pipeline: Pipeline, version: str) -> UsageError:
    return UsageError(
        f"{pipeline.name} runs {version}, but its file declares it no longer, so it cannot be "
        "folded again",
        attempt=f"the file as it was, with {version}",
    )


def _require_origin(log: Log, manifest: Manifest, partition: int) -> None:
    events = Topics(manifest.pipeline).events
    start, origin = log.bounds(events, partition)[0], manifest.origins[partition]
    if start > origin:
        raise LogUntrusted(
            f"{events}/{partition} begins at {start} now; its origin {origin} is "
            "gone, so it cannot be folded from there.",
            attempt="restore the older part of the log from a backup",
        )


def _require_nothing_published(log: Log, pipeline: Pipeline, partition: int) -> None:
    topic = published_topic(log, pipeline.name, pipeline.versions, partition)
    if topic is not None:
        raise PositionMissing(
            f"{topic}/{partition} in {log.url} has outputs but no committed position, so there is "
            "nothing to say up to where they should be.",
            attempt="restore the log from a backup",
        )


class _Ground(NamedTuple):
    """Where a segment is folded."""

    log: Log
    pipeline: Pipeline
    manifest: Manifest
    folded: Folded
    segment: Segment
    state: StateDirectory | None


def _begun(
    ground: _Ground, checkpoint: str | None, scratch: StateStore, opened: ExitStack
) -> Refold:
    """Return what folds on from a checkpoint, or from nothing; what changes goes to `scratch`."""
    kept: RocksdbStore | None = None
    seal, saved = None, None
    if checkpoint is not None:
        assert ground.state is not None  # noqa: S101 - who names a checkpoint has a state
        kept = RocksdbStore.open(Path(checkpoint), read_only=True)
        opened.callback(kept.close)
        saved, seal = read_position(kept), ground.state.seal()
    begin = _start(ground, saved)
    if saved is not None and begin.position is not saved:
        raise StateUntrusted(
            f"the kept checkpoint {checkpoint} is of no use here.",
            attempt="replay without --workers, which folds from the origin",
        )
    return refold(
        ground.log,
        ground.pipeline,
        ground.manifest,
        ground.segment.partition,
        msgspec.structs.replace(begin, publish_from=ground.segment.first),
        lambda: scratch,
        kept,
        seal,
    )


def _start(ground: _Ground, saved: Position | None) -> Start:
    partition, folded = ground.segment.partition, ground.folded
    place = (ground.manifest, partition, ground.pipeline)
    log_start = ground.log.bounds(Topics(ground.pipeline.name).events, partition)[0]
    if folded.backfill is not None:
        return recover_backfill(*place, folded.backfill, folded.then, saved, log_start, 0).start
    start = recover(*place, folded.then, saved, log_start, folded.then.versions).start
    # One version may be folded alone: none depends on another, and the seat is settled.
    chosen = {name: start.versions[name] for name in folded.versions}
    return msgspec.structs.replace(start, versions=chosen)


class _Replay:
    """One segment's replay."""

    def __init__(self, ground: _Ground, store: StateStore, opened: ExitStack) -> None:
        self._ground = ground
        self._opened = opened
        self._scratch = store
        log, segment, folded = ground.log, ground.segment, ground.folded
        self._partition = segment.partition
        self._topics = Topics(ground.pipeline.name)
        self._fold = _begun(ground, segment.checkpoint, store, opened)
        self._processor = self._fold.processor
        known = {*folded.commit.left, *folded.commit.versions}
        self._left = sorted(known - {*folded.versions})
        versions = folded.commit.versions
        self._partly = {
            name.encode(): versions[name].published_from
            for name in folded.versions
            if versions[name].published_from > segment.first
        }
        self._published = {
            name: PublishedRows(log, name, segment.partition, ignored, segment.first)
            for name, ignored in self._names(folded).items()
        }

    def _names(self, folded: Folded) -> dict[str, dict[str, int]]:
        """Return the topics to compare, each with the versions whose rows are not made again."""
        topics = self._topics
        shadows: dict[str, dict[str, int]] = {topics.shadow(name): {} for name in folded.versions}
        if folded.backfill is not None:
            return shadows
        ignored = {name: folded.commit.left.get(name, NEVER) for name in self._left}
        lives = (topics.predictions, topics.evaluations, topics.drift_alerts, topics.dead_letters)
        return {**dict.fromkeys(lives, ignored), **shadows}

    def run(
        self, progress: Callable[[int, int], None] | None, stopped: Callable[[], bool]
    ) -> ReplayReport:
        processor, end = self._processor, self._ground.segment.end
        first, before = processor.next_offset, processor.acceptance.counters.records
        difference: Difference | None = None
        for batch in self._fold.batches(end):
            difference = self._compare(batch.outputs)
            if progress is not None:
                progress(processor.next_offset - first, end - first)
            if difference is not None or stopped():
                break
        if difference is None and not stopped():
            difference = self._compare_ends()
        return ReplayReport(
            partition=self._partition,
            records=processor.acceptance.counters.records - before,
            next_offset=processor.next_offset,
            outputs={name: rows.compared for name, rows in self._published.items()},
            skipped=sum(rows.skipped for rows in self._published.values()),
            digests=sum(rows.digests for rows in self._published.values()),
            not_compared=self._left,
            difference=difference,
            start=self._ground.segment.first,
        )

    def _before(self, output: Output) -> bool:
        """Tell whether an output is from before its version's backfill began to put any out."""
        version = dict(output.headers).get("version")
        if version is None or version not in self._partly:
            return False
        caused = source_offset(output)
        return caused is not None and caused < self._partly[version]

    def _compare(self, outputs: list[Output]) -> Difference | None:
        for output in outputs:
            if self._partly and self._before(output):
                continue
            difference = self._published[output.topic].compare(output)
            if difference is not None:
                return difference
        return None

    def _compare_ends(self) -> Difference | None:
        """Compare what the fold came to, and look for outputs nothing caused."""
        segment, commit = self._ground.segment, self._ground.folded.commit
        difference = None
        whole_rest = segment.end == commit.next_offset
        if whole_rest:
            difference = self._differing("chain", commit.chain, self._processor.chain.hex())
        elif segment.closing is not None:
            difference = self._compare_states(segment.closing)
        for rows in self._published.values():
            difference = difference or rows.compare_end(segment.end, to_the_last=whole_rest)
        if difference is None and whole_rest:
            difference = after_they_left(self._ground.log, self._topics, self._partition, commit)
        return difference

    def _compare_states(self, closing: str) -> Difference | None:
        """Compare with the checkpoint that the next segment begins from."""
        kept = _begun(self._ground, closing, self._scratch, self._opened).processor
        difference = self._differing("chain", kept.chain.hex(), self._processor.chain.hex())
        accepted = kept.accepted_digest().hex(), self._processor.accepted_digest().hex()
        difference = difference or self._differing("state of acceptance", *accepted)
        for version, again in zip(kept.versions, self._processor.versions, strict=True):
            what = f"state of {version.name}"
            digests = version.digest().hex(), again.digest().hex()
            difference = difference or self._differing(what, *digests)
        return difference

    def _differing(self, what: str, before: str, again: str) -> Difference | None:
        if before == again:
            return None
        end = self._ground.segment.end
        position = format_position(self._topics.events, self._partition, end)
        return Difference(position, position, what, before, again)


def likely_cause(commit: Commit) -> str:
    """Say what most probably made a replay differ."""
    then, now = commit.environment, this_environment()
    if then != now:
        return f"live ran on {then.cpu}, Python {then.python}, River {then.river}; this is {now}"
    return "the log or its outputs were changed after they were written"
