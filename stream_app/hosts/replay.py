"""Replay: fold the log again from its origin and compare with what live published."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.core.commit import Commit, Manifest
from stream_app.core.environment import this_environment
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, PositionMissing, StateUnavailable
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.manifests import committed
from stream_app.hosts.published import published_topic
from stream_app.records import Output, Record, format_position
from stream_app.storage.rocksdb_store import RocksdbStore

BATCH = 5000


class Difference(msgspec.Struct, frozen=True):
    """The first place where a replay is not what was published; None: nothing is there."""

    position: str
    source: str
    field: str
    published: str | None
    recomputed: str | None


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay of one partition compared."""

    partition: int
    records: int
    next_offset: int
    outputs: dict[str, int]
    skipped: int
    digests: int
    not_compared: list[str]
    difference: Difference | None


def replay(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    partition: int,
    *,
    progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ReplayReport:
    """Fold one partition from its origin to its committed position; writes nothing to the log.

    Uses a state of its own in a temporary directory. Outputs that retention has removed are
    skipped. `progress` hears (records done, records in all).
    """
    calm_garbage_collector()
    commit = committed(log, pipeline.name, partition)
    if commit is None:
        _require_nothing_published(log, pipeline, partition)
        return ReplayReport(partition, 0, manifest.origins[partition], {}, 0, 0, [], None)
    with _temporary_directory() as folder:
        store = RocksdbStore.open(folder / "state")
        try:
            return _Replay(log, pipeline, manifest, partition, commit, store).run(progress, stopped)
        finally:
            store.close()


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
        commit: Commit,
        store: RocksdbStore,
    ) -> None:
        self._log = log
        self._partition = partition
        self._commit = commit
        self._store = store
        self._topics = Topics(pipeline.name)
        origin = manifest.origins[partition]
        start = log.bounds(self._topics.events, partition)[0]
        if start > origin:
            raise LogUntrusted(
                f"{self._topics.events}/{partition} begins at {start} now; its origin {origin} is "
                "gone, so it cannot be folded from there.",
                attempt="restore the older part of the log from a backup",
            )
        recovery = recover(manifest, partition, pipeline, commit, None, start, commit.versions)
        # From nothing, and every output is made again.
        begin = msgspec.structs.replace(recovery.start, publish_from=origin)
        self._processor = PartitionProcessor(
            manifest,
            partition,
            begin,
            pipeline.plans(recovery.start.versions),
            store,
            seal=BlobSeal(bytes(KEY_BYTES)),
            known=pipeline.known,
        )
        names = [
            self._topics.predictions,
            self._topics.evaluations,
            self._topics.drift_alerts,
            self._topics.dead_letters,
            *(self._topics.shadow(v) for v in recovery.start.versions if v != begin.seat.champion),
        ]
        self._published = {name: _Published(log, name, partition) for name in names}
        self._left = sorted(set(commit.left) | (set(commit.versions) - set(begin.versions)))

    def run(
        self, progress: Callable[[int, int], None] | None, stopped: Callable[[], bool]
    ) -> ReplayReport:
        processor, end = self._processor, self._commit.next_offset
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
        )

    def _compare(self, outputs: list[Output]) -> Difference | None:
        for output in outputs:
            difference = self._published[output.topic].compare(output)
            if difference is not None:
                return difference
        return None

    def _compare_ends(self) -> Difference | None:
        """Compare the chain at the committed position, and look for outputs nothing caused."""
        if self._processor.chain.hex() != self._commit.chain:
            position = format_position(
                self._topics.events, self._partition, self._commit.next_offset
            )
            chain = self._processor.chain.hex()
            return Difference(position, position, "chain", self._commit.chain, chain)
        for rows in self._published.values():
            difference = rows.compare_end(self._commit.next_offset)
            if difference is not None:
                return difference
        return None


class _Published:
    """One output topic's records, read in order beside the replay."""

    def __init__(self, log: Log, topic: str, partition: int) -> None:
        self._log = log
        self._topic = topic
        self._partition = partition
        present = topic in log.topics()
        self._to_skip = log.bounds(topic, partition)[0] if present else 0
        self._records = self._read(self._to_skip) if present else iter(())
        self.compared = 0
        self.skipped = 0
        self.digests = 0

    def _read(self, offset: int) -> Iterator[Record]:
        while True:
            records = self._log.read(self._topic, self._partition, offset, records_max=BATCH)
            if not records:
                return
            yield from records
            offset = records[-1].offset + 1

    def compare(self, output: Output) -> Difference | None:
        if self.skipped < self._to_skip:
            self.skipped += 1
            return None
        record = next(self._records, None)
        if record is None:
            source = dict(output.headers).get("source", b"").decode()
            value = output.value.decode("utf-8", "replace")
            return Difference(f"{self._topic}/{self._partition}", source, "value", None, value)
        if (
            record.value == output.value
            and record.key == output.key
            and record.headers == output.headers
        ):
            self.compared += 1
            if b'"kind":"state_digest"' in output.value:
                self.digests += 1
            return None
        return _difference(record, output)

    def compare_end(self, next_offset: int) -> Difference | None:
        record = next(self._records, None)
        if record is None:
            return None
        source = dict(record.headers).get("source", b"").decode("utf-8", "replace")
        offset = source.rpartition("@")[2]
        # What names no offset was not put out by us, or was damaged since.
        if offset.isdecimal() and int(offset) >= next_offset:
            return None  # published since the replay began
        value = record.value.decode("utf-8", "replace")
        return Difference(record.position, source, "value", value, None)


def _difference(record: Record, output: Output) -> Difference:
    """Name the first field that differs."""
    source = dict(output.headers).get("source", b"").decode()
    if record.key != output.key:
        return Difference(record.position, source, "key", repr(record.key), repr(output.key))
    if record.headers != output.headers:
        old, new = repr(record.headers), repr(output.headers)
        return Difference(record.position, source, "headers", old, new)
    old_value, new_value = _fields(record.value), _fields(output.value)
    for name in [*new_value, *(name for name in old_value if name not in new_value)]:
        before, after = old_value.get(name), new_value.get(name)
        if before != after:
            return Difference(record.position, source, name, before, after)
    old, new = record.value.decode("utf-8", "replace"), output.value.decode("utf-8", "replace")
    return Difference(record.position, source, "value", old, new)


def _fields(value: bytes) -> dict[str, str]:
    try:
        document = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):  # what is compared may be damaged
        return {"value": value.decode("utf-8", "replace")}
    return {name: bytes(raw).decode("utf-8", "replace") for name, raw in document.items()}


def likely_cause(commit: Commit) -> str:
    """Say what most probably made a replay differ."""
    then, now = commit.environment, this_environment()
    if then != now:
        return f"live ran on {then.cpu}, Python {then.python}, River {then.river}; this is {now}"
    return "the log or its outputs were changed after they were written"
