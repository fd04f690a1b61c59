"""What a running or resting pipeline looks like from outside; disturbs nobody."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from stream_app.core.commit import Commit, Manifest
from stream_app.core.importing import not_begun
from stream_app.core.log import Log, Owner
from stream_app.core.seats import SeatChange
from stream_app.core.topics import Topics
from stream_app.counted import counted
from stream_app.events import Control
from stream_app.hosts.checkpoints import Checkpoint, look_at
from stream_app.hosts.controls import newest_order
from stream_app.hosts.joining import JOIN_RECORDS_MAX, built
from stream_app.hosts.manifests import committed, read_manifest, settings_in_force
from stream_app.hosts.source_status import SourceStatus, source_statuses
from stream_app.hosts.state_directory import StateDirectory
from stream_app.near_names import did_you_mean

SEATS_SHOWN_MAX = 10


class Built(msgspec.Struct, frozen=True):
    """A version that a backfill builds: where it stands, and how much its model has learned."""

    next_offset: int
    learned: int
    owner: Owner | None


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition: where it stands, how far behind the log, and who owns it.

    `seats` is how its champion came to be, `backfills` where versions stand that are being built.
    `versions` are learned counts, empty before the first record; `not_run` maps versions that left
    to the offset where they did. `undeclared` counts features that came and are not declared.
    `owner` is the process that holds the partition, as the kernel knows it.
    """

    partition: int
    end: int
    next_offset: int
    lag: int
    champion: str
    seats: list[SeatChange]
    versions: dict[str, int]
    failed: dict[str, str]
    waiting_for_file: list[str]
    not_run: dict[str, int]
    counters: dict[str, int]
    waiting: int
    early_waiting: int
    undeclared: dict[str, int]
    watermark_ms: int | None
    owner: Owner | None
    checkpoint: Checkpoint
    checkpoint_problem: str | None
    backfills: dict[str, Built]


class TopicStatus(msgspec.Struct, frozen=True):
    """One topic's size.

    `offsets` were given in it and are still kept, and `removed` ones before them are not. Where
    some of them are no records (on Kafka: the ends of transactions, what was never committed and
    what compaction took) `records` is None.
    """

    topic: str
    partitions: int
    offsets: int
    records: int | None
    removed: int


class Status(msgspec.Struct, frozen=True):
    """A pipeline in a log; `notes` are sentences about what a person should know."""

    pipeline: str
    broker: str
    log_id: str
    log_bytes: int | None
    log_free_bytes: int | None
    settings_pending: bool
    partitions: list[PartitionStatus]
    topics: list[TopicStatus]
    notes: list[str]
    at_ms: int
    intake: list[SourceStatus] = []


def status(log: Log, pipeline: str, state: StateDirectory) -> Status:
    """Return a pipeline's status from the log, the locks and the state, read only."""
    manifest = read_manifest(log, pipeline)
    settings = settings_in_force(log, manifest)
    newest = settings.plain()
    rows = []
    pending = False
    for partition in range(manifest.partitions):
        commit = committed(log, pipeline, partition)
        in_force = manifest.settings if commit is None else commit.settings
        pending = pending or in_force != newest
        rows.append(_partition(log, manifest, partition, commit, state))
    sources = source_statuses(log, manifest)
    order, disk = newest_order(log, pipeline), log.disk_use()
    return Status(
        pipeline=pipeline,
        broker=log.url,
        log_id=log.log_id,
        log_bytes=None if disk is None else disk.total,
        log_free_bytes=None if disk is None else disk.free,
        settings_pending=pending,
        partitions=rows,
        topics=_topics(log, pipeline),
        notes=_not_begun(pipeline, rows)
        + _notes(rows, pending, settings.acceptance.features or {})
        + ([] if order is None else _not_obeyed(order, rows))
        + [f"intake from {row.source}: {row.problem}" for row in sources if row.problem],
        at_ms=time.time_ns() // 1_000_000,
        intake=sources,
    )


def _partition(
    log: Log,
    manifest: Manifest,
    partition: int,
    commit: Commit | None,
    state: StateDirectory,
) -> PartitionStatus:
    topics = Topics(manifest.pipeline)
    end = log.bounds(topics.events, partition)[1]
    next_offset = manifest.origins[partition] if commit is None else commit.next_offset
    seen = look_at(state.partition(log.log_id, manifest.pipeline, partition), manifest, partition)
    return PartitionStatus(
        partition=partition,
        end=end,
        next_offset=next_offset,
        lag=lag(log, topics.events, partition, next_offset),
        champion=manifest.initial_champion if commit is None else commit.seat.champion,
        seats=[] if commit is None else commit.seats,
        versions={} if commit is None else commit.learned,
        failed={} if commit is None else commit.failed,
        waiting_for_file=[] if commit is None else commit.waiting_for_file or [],
        not_run={} if commit is None else commit.left,
        counters={} if commit is None else commit.counters,
        waiting=0 if commit is None else commit.waiting,
        early_waiting=0 if commit is None else commit.early_waiting,
        undeclared={} if commit is None else commit.undeclared,
        watermark_ms=None if commit is None else commit.watermark_ms,
        owner=log.owner(topics.ledger, partition),
        checkpoint=seen.checkpoint,
        checkpoint_problem=None if seen.error is None else seen.error.problem,
        backfills=_backfills(log, manifest.pipeline, partition, commit),
    )


def _backfills(log: Log, name: str, partition: int, live: Commit | None) -> dict[str, Built]:
    """Return every version that is being built and not run: each has a shadow topic."""
    topics = Topics(name)
    hosted = set() if live is None else set(live.versions)
    rows = {}
    for topic in sorted(log.topics()):
        version = topic.removeprefix(topics.shadow(""))
        if version == topic or version in hosted:
            continue
        commit = built(log, name, version, partition)
        if commit is not None:
            owner = log.owner(topics.ledger_of(version), partition)
            rows[version] = Built(commit.next_offset, commit.learned.get(version, 0), owner)
    return rows


def lag(log: Log, topic: str, partition: int, next_offset: int) -> int:
    """Return how many offsets are still to be processed: 0 when no record is left.

    Behind the last record a log may end with markers of its own, which nobody ever reads.
    """
    end = log.bounds(topic, partition)[1]
    if end <= next_offset or not log.read(topic, partition, next_offset, records_max=1):
        return 0
    return end - next_offset


def _topics(log: Log, pipeline: str) -> list[TopicStatus]:
    rows = []
    for topic, partitions in sorted(log.topics().items()):
        if topic.startswith(f"{pipeline}."):
            bounds = [log.bounds(topic, partition) for partition in range(partitions)]
            offsets = sum(end - start for start, end in bounds)
            records = offsets if log.every_offset_is_a_record else None
            removed = sum(start for start, _ in bounds)
            rows.append(TopicStatus(topic, partitions, offsets, records, removed))
    return rows


def _not_begun(pipeline: str, rows: Sequence[PartitionStatus]) -> list[str]:
    """Say what begins a pipeline that has processed nothing and that nobody runs."""
    if any(row.versions or row.owner is not None for row in rows):
        return []
    return [f"{pipeline} has processed nothing yet; what begins it: stream-app run FILE"]


def _not_obeyed(order: Control, rows: Sequence[PartitionStatus]) -> list[str]:
    """Say which partitions have not obeyed the newest order, or not read it yet."""
    late = [
        str(row.partition)
        for row in rows
        if row.champion != order.version and all(c.control != order.id for c in row.seats)
    ]
    if not late:
        return []
    given = f"by {order.by}" if order.by else "of nobody in particular"
    return [
        f"an order ({given}: {order.reason}) to make {order.version} champion is in the log and "
        f"not yet obeyed by partition {', '.join(late)}"
    ]


def _notes(rows: list[PartitionStatus], pending: bool, declared: Mapping[str, object]) -> list[str]:
    """Say what is not as it should be, and what causes it."""
    notes = []
    if pending:
        notes.append("new settings are in the log and not reached yet")
    for row in rows:
        where = f"partition {row.partition}"
        if row.owner is not None and row.owner.stopped:
            notes.append(f"{where}: its owner is frozen: {row.owner.attempt}")
        if row.checkpoint_problem is not None:
            notes.append(f"{where}: {row.checkpoint_problem}")
        notes += [f"{where}: version {v} has failed: {why}" for v, why in row.failed.items()]
        notes += [f"{where}: {not_begun(v)}" for v in row.waiting_for_file]
        notes += [f"{where}: version {v} is not run since {o}" for v, o in row.not_run.items()]
        notes += [
            f"{where}: the backfill of {v} is {row.next_offset - b.next_offset:,} records behind: "
            "run does not wait for it; stream-app backfill goes on with it"
            for v, b in row.backfills.items()
            if row.next_offset - b.next_offset > JOIN_RECORDS_MAX
        ]
        notes += [
            f"{where}: it did not make {change.champion} its champion at {change.since}: "
            f"{change.refused}"
            for change in row.seats[-SEATS_SHOWN_MAX:]
            if change.refused
        ]
        if misplaced := row.counters.get("misplaced"):
            notes.append(
                f"{where}: {counted(misplaced, 'record')} in another partition than the key's: the "
                "producer does not partition by murmur2 (librdkafka clients need "
                "partitioner=murmur2_random), so labels may miss their observations"
            )
        if differ := row.counters.get("keys_differ"):
            notes.append(
                f"{where}: {counted(differ, 'record')} with another key than the event says "
                "(`key`, by default the id): the producer must use that as the record's key"
            )
        if dropped := row.counters.get("features_dropped"):
            notes.append(
                f"{where}: left out for an odd type: {counted(dropped, 'undeclared feature')}"
            )
        notes += [
            f"{where}: feature {name} came with {counted(seen, 'event')} and is not declared, so "
            f"only versions that name it get it{did_you_mean(name, declared)}"
            for name, seen in row.undeclared.items()
            if name not in declared
        ]
    return notes
