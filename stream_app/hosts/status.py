"""What a running or resting pipeline looks like from outside: read from the log alone."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from stream_app.core.commit import Commit, decode_commit
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.hosts.registration import read_manifest, settings_in_force
from stream_app.hosts.state_directory import StateDirectory


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition: where it stands, and how far behind the log."""

    partition: int
    end: int
    next_offset: int
    lag: int
    champion: str
    versions: dict[str, int]
    failed: dict[str, str]
    not_run: dict[str, int]
    counters: dict[str, int]
    waiting: int
    early_waiting: int
    watermark_ms: int
    owner: str | None
    state_directory: str
    checkpoint: int | None


class TopicStatus(msgspec.Struct, frozen=True):
    """One topic's records."""

    topic: str
    partitions: int
    records: int
    removed: int


class Status(msgspec.Struct, frozen=True):
    """A pipeline in a log."""

    pipeline: str
    broker: str
    log_id: str
    log_bytes: int | None
    settings_pending: bool
    partitions: list[PartitionStatus]
    topics: list[TopicStatus]
    at_ms: int


def pipelines(log: Log) -> list[str]:
    """Return the names of all pipelines in a log."""
    return sorted(t.removesuffix(".events") for t in log.topics() if t.endswith(".events"))


def status(log: Log, pipeline: str, state: StateDirectory, *, log_bytes: int | None) -> Status:
    """Return a pipeline's status; never opens a live state directory for writing."""
    manifest = read_manifest(log, pipeline)
    topics = Topics(pipeline)
    rows = []
    pending = False
    newest = settings_in_force(log, manifest)
    for partition in range(manifest.partitions):
        found = log.ledger_get(topics.ledger, partition, "commit")
        commit = None if found is None else decode_commit(found, f"{pipeline}/{partition}")
        in_force = manifest.settings if commit is None else commit.settings
        pending = pending or in_force != newest.plain()
        path = state.partition(log.log_id, pipeline, partition)
        end = log.bounds(topics.events, partition)[1]
        rows.append(_partition(manifest.initial_champion, partition, end, commit, path))
    return Status(
        pipeline=pipeline,
        broker=log.url,
        log_id=log.log_id,
        log_bytes=log_bytes,
        settings_pending=pending,
        partitions=rows,
        topics=_topics(log, pipeline),
        at_ms=time.time_ns() // 1_000_000,
    )


def _partition(
    champion: str, partition: int, end: int, commit: Commit | None, path: Path
) -> PartitionStatus:
    next_offset = 0 if commit is None else commit.next_offset
    return PartitionStatus(
        partition=partition,
        end=end,
        next_offset=next_offset,
        lag=end - next_offset,
        champion=champion if commit is None else commit.seat.champion,
        versions={} if commit is None else commit.learned,
        failed={} if commit is None else commit.failed,
        not_run={} if commit is None else commit.left,
        counters={} if commit is None else commit.counters,
        waiting=0 if commit is None else commit.waiting,
        early_waiting=0 if commit is None else commit.early_waiting,
        watermark_ms=0 if commit is None else commit.watermark_ms,
        owner=None,
        state_directory=str(path),
        checkpoint=None,
    )


def _topics(log: Log, pipeline: str) -> list[TopicStatus]:
    rows = []
    for topic, partitions in sorted(log.topics().items()):
        if topic == pipeline or topic.startswith(f"{pipeline}."):
            bounds = [log.bounds(topic, partition) for partition in range(partitions)]
            records = sum(end - start for start, end in bounds)
            removed = sum(start for start, _ in bounds)
            rows.append(TopicStatus(topic, partitions, records, removed))
    return rows
