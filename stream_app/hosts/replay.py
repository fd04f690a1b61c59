"""Replay: fold the log again and compare with what was published, across past promotions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.core.batch import Start
from stream_app.core.commit import Commit, Manifest
from stream_app.core.environment import this_environment
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover, recover_backfill
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, PositionMissing, StateUnavailable, UsageError
from stream_app.hosts.embedded import calm_garbage_collector
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import committed
from stream_app.hosts.published import published_topic
from stream_app.hosts.published_rows import BATCH, Difference, PublishedRows
from stream_app.near_names import did_you_mean
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


class Span(msgspec.Struct, frozen=True):
    """What to compare: the outputs of events in [`start`, `end`); None for all there is."""

    start: int | None = None
    end: int | None = None


class Folded(msgspec.Struct, frozen=True):
    """What is folded: a lineage's start at the origin, up to where it has committed."""

    start: Start
    commit: Commit
    backfill: str | None


def replay(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    partition: int,
    *,
    version: str | None = None,
    span: Span = Span(),  # noqa: B008 - frozen
    progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ReplayReport:
    """Fold one partition from its origin to its committed position; writes nothing to the log.

    Of all versions that live runs, or of one `version`, which may be one that a backfill builds.
    What is learned is always from the origin, what is compared is in `span`. Uses a state of its
    own in a temporary directory. Outputs that retention has removed are skipped. `progress` hears
    (records done, records in all).
    """
    calm_garbage_collector()
    folded = _folded(log, pipeline, manifest, partition, version)
    if folded is None:
        _require_nothing_published(log, pipeline, partition)
        return ReplayReport(partition, 0, manifest.origins[partition], {}, 0, 0, [], None)
    with _temporary_directory() as folder:
        store = RocksdbStore.open(folder / "state")
        try:
            work = _Replay(log, pipeline, manifest, partition, folded, span, store)
            return work.run(progress, stopped)
        finally:
            store.close()


def _folded(
    log: Log, pipeline: Pipeline, manifest: Manifest, partition: int, version: str | None
) -> Folded | None:
    """Return what to fold; None where nothing is committed. Raises `UsageError`."""
    live = committed(log, pipeline.name, partition)
    log_start = _log_start(log, manifest, partition)
    if live is not None and (version is None or version in live.versions):
        recovery = recover(manifest, partition, pipeline, live, None, log_start, live.versions)
        start = recovery.start
        if version is not None:
            if version not in start.versions:
                raise _undeclared(pipeline, version)
            one = {version: start.versions[version]}
            start = msgspec.structs.replace(start, versions=one)
        return Folded(start, live, None)
    if live is None or version is None:
        return None
    commit = built(log, pipeline.name, version, partition)
    if version not in pipeline.versions or commit is None:
        known = sorted(live.versions)
        raise UsageError(
            f"{pipeline.name}/{partition} has never run or built {version!r}"
            f"{did_you_mean(version, known)}",
            attempt=f"--version with one of {', '.join(known)}, or stream-app backfill FILE "
            f"{version} first",
        )
    recovery = recover_backfill(manifest, partition, pipeline, version, commit, None, log_start, 0)
    return Folded(recovery.start, commit, version)


def _undeclared(pipeline: Pipeline, version: str) -> UsageError:
    return UsageError(
        f"{pipeline.name} runs {version}, but its file declares it no longer, so it cannot be "
        "folded again",
        attempt=f"the file as it was, with {version}",
    )


def _log_start(log: Log, manifest: Manifest, partition: int) -> int:
    events = Topics(manifest.pipeline).events
    start, origin = log.bounds(events, partition)[0], manifest.origins[partition]
    if start > origin:
        raise LogUntrusted(
            f"{events}/{partition} begins at {start} now; its origin {origin} is "
            "gone, so it cannot be folded from there.",
            attempt="restore the older part of the log from a backup",
        )
    return start


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    """Make a directory, and remove it in the end even if the disk below it fails."""
    try:
        folder = tempfile.mkdtemp(prefix="stream-app-replay-")
    except OSError as error:
        raise StateUnavailable(
            f"no directory for the replay's own state can be made: {error}.",
            attempt="free some space there, or name a directory on another disk with TMPDIR",
        ) from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_nothing_published(log: Log, pipeline: Pipeline, partition: int) -> None:
    topic = published_topic(log, pipeline.name, pipeline.versions, partition)
    if topic is not None:
        raise PositionMissing(
            f"{topic}/{partition} in {log.url} has outputs but no committed position, so there is "
            "nothing to say up to where they should be.",
            attempt="restore the log from a backup",
        )


class _Replay:
    """One partition's replay."""

    def __init__(
        self,
        log: Log,
        pipeline: Pipeline,
        manifest: Manifest,
        partition: int,
        folded: Folded,
        span: Span,
        store: RocksdbStore,
    ) -> None:
        self._log = log
        self._partition = partition
        self._commit = folded.commit
        self._store = store
        self._topics = Topics(pipeline.name)
        origin = manifest.origins[partition]
        self._first = max(origin, span.start or origin)
        end = folded.commit.next_offset
        self._end = end if span.end is None else min(end, span.end)
        # From nothing, and every output of the span is made again.
        begin = msgspec.structs.replace(folded.start, publish_from=self._first)
        self._processor = PartitionProcessor(
            manifest,
            partition,
            begin,
            pipeline.plans(begin.versions),
            store,
            seal=BlobSeal(bytes(KEY_BYTES)),
            known=pipeline.known,
        )
        commit = folded.commit
        self._left = sorted({*commit.left, *commit.versions} - set(begin.versions))
        self._published = {
            name: PublishedRows(log, name, partition, self._left, self._first)
            for name in self._names(folded)
        }

    def _names(self, folded: Folded) -> list[str]:
        topics = self._topics
        shadows = [topics.shadow(version) for version in folded.start.versions]
        if folded.backfill is not None:
            return shadows
        return [
            topics.predictions,
            topics.evaluations,
            topics.drift_alerts,
            topics.dead_letters,
            *shadows,
        ]

    def run(
        self, progress: Callable[[int, int], None] | None, stopped: Callable[[], bool]
    ) -> ReplayReport:
        processor, end = self._processor, self._end
        first = processor.next_offset
        difference: Difference | None = None
        while processor.next_offset < end and difference is None and not stopped():
            read = self._log.read(
                self._topics.events, self._partition, processor.next_offset, records_max=BATCH
            )
            # Where offsets have holes, as on Kafka, a number of records does not say how far.
            records = [record for record in read if record.offset < end]
            if not records:
                break
            batch = processor.process(records)
            difference = self._compare(batch.outputs)
            if batch.image_due:
                self._store.save(processor.image())
                processor.saved()
            if progress is not None:
                progress(processor.next_offset - first, end - first)
        if difference is None and not stopped():
            difference = self._compare_ends()
        return ReplayReport(
            partition=self._partition,
            records=processor.acceptance.counters.records,
            next_offset=processor.next_offset,
            outputs={name: rows.compared for name, rows in self._published.items()},
            skipped=sum(rows.skipped for rows in self._published.values()),
            digests=sum(rows.digests for rows in self._published.values()),
            not_compared=self._left,
            difference=difference,
            start=self._first,
        )

    def _compare(self, outputs: list[Output]) -> Difference | None:
        for output in outputs:
            difference = self._published[output.topic].compare(output)
            if difference is not None:
                return difference
        return None

    def _compare_ends(self) -> Difference | None:
        """Compare the chain at the committed position, and look for outputs nothing caused."""
        whole = self._end == self._commit.next_offset
        if whole and self._processor.chain.hex() != self._commit.chain:
            position = format_position(
                self._topics.events, self._partition, self._commit.next_offset
            )
            chain = self._processor.chain.hex()
            return Difference(position, position, "chain", self._commit.chain, chain)
        for rows in self._published.values():
            difference = rows.compare_end(self._end)
            if difference is not None:
                return difference
        return None


def likely_cause(commit: Commit) -> str:
    """Say what most probably made a replay differ."""
    then, now = commit.environment, this_environment()
    if then != now:
        return f"live ran on {then.cpu}, Python {then.python}, River {then.river}; this is {now}"
    return "the log or its outputs were changed after they were written"
