"""Runs a pipeline on this machine: one process for some partitions of an embedded log."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.core.commit import LIVE, Commit, Manifest
from stream_app.core.importing import not_begun
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.counted import counted
from stream_app.errors import LogUntrusted
from stream_app.hosts.collector import calm_garbage_collector, collector_at_rest
from stream_app.hosts.joining import Waits, prepare_joins
from stream_app.hosts.keeping_store import Keepable, KeepingStore
from stream_app.hosts.partition_host import PartitionHost, nothing
from stream_app.hosts.state_directory import StateDirectory, backfill_lineage
from stream_app.hosts.work import Work
from stream_app.outputs import Evaluation
from stream_app.records import Place
from stream_app.storage.kept_directory import KeptDirectory
from stream_app.storage.private_files import is_there
from stream_app.storage.rocksdb_store import RocksdbStore
from stream_app.web.figures import WorkFigures

REPORT_EVERY_S = 0.2
IDLE_WAIT_S = 0.25


class Progress(msgspec.Struct, frozen=True):
    """How far a partition is; `records` counts what this run has processed there.

    `work` and `evaluations` are for operators: see `web.figures.Report`.
    """

    partition: int
    next_offset: int
    end: int
    committed: int
    relearning: bool
    records: int
    commit: Commit | None
    work: WorkFigures
    evaluations: dict[str, Evaluation]


class Notice(msgspec.Struct, frozen=True):
    """What a person should know about a start, though nothing is wrong.

    `partition` is None for what concerns the whole pipeline.
    """

    partition: int | None
    text: str


class Owned(msgspec.Struct, frozen=True):
    """Which partitions this run works on; said before any of them is opened."""

    pipeline: str
    partitions: tuple[Place, ...]


class Stopped(msgspec.Struct, frozen=True):
    """An error ended the work on a partition; the others end in good order after it."""

    partition: Place
    problem: str


Word = Progress | Notice | Owned | Stopped


class OpenStore(Protocol):
    """Opens a partition's state, of the live lineage or of a version's backfill."""

    def __call__(self, path: Path, partition: int, backfill: str | None) -> Keepable:
        """Open what lies at `path`."""
        ...


def open_rocksdb(path: Path, partition: int, backfill: str | None) -> Keepable:  # noqa: ARG001
    """Open a partition's state on this machine."""
    return RocksdbStore.open(path)


def open_hosts(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    partitions: Sequence[int],
    *,
    versions: Collection[str] | None = None,
    reached: Callable[[str], None] = nothing,
    publisher: Callable[[], Executor] | None = None,
    open_store: OpenStore = open_rocksdb,
    left_out: Callable[[int, Waits], None] = lambda _partition, _waits: None,
) -> list[PartitionHost]:
    """Open partitions, all or none.

    `publisher` makes what each publishes with, `open_store` opens a partition's state. Versions
    that a backfill has built join; `left_out` hears of those that cannot, now or later.
    """
    seal = state.seal()
    hosts: list[PartitionHost] = []
    try:
        for partition in partitions:
            _refuse_lost_log(log, manifest, partition, state)
            with collector_at_rest():
                host = _open_host(
                    log,
                    pipeline,
                    manifest,
                    state,
                    partition,
                    seal=seal,
                    versions=versions,
                    reached=reached,
                    publisher=None if publisher is None else publisher(),
                    open_store=open_store,
                )
            hosts.append(host)
            built = partial(
                open_backfill,
                log,
                pipeline,
                manifest,
                state,
                partition,
                reached=reached,
                open_store=open_store,
            )
            prepare_joins(host, log, pipeline, versions, built, partial(left_out, partition))
    except BaseException:
        for host in hosts:
            host.close()
        raise
    return hosts


def open_backfill(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    partition: int,
    version: str,
    *,
    reached: Callable[[str], None] = nothing,
    publisher: Executor | None = None,
    open_store: OpenStore = open_rocksdb,
    since: int = 0,
) -> PartitionHost:
    """Open a version's backfill of one partition; it is ours until it is closed.

    One that begins puts out what events from `since` on cause.
    Raises `VersionHosted` when the live lineage runs the version.
    """
    return _open_host(
        log,
        pipeline,
        manifest,
        state,
        partition,
        seal=state.seal(),
        reached=reached,
        publisher=publisher,
        open_store=open_store,
        backfill=version,
        since=since,
    )


def _open_host(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    partition: int,
    *,
    seal: BlobSeal,
    reached: Callable[[str], None],
    publisher: Executor | None,
    open_store: OpenStore,
    versions: Collection[str] | None = None,
    backfill: str | None = None,
    since: int = 0,
) -> PartitionHost:
    """Open a lineage's partition over the state that belongs to it, whose checkpoints are kept."""
    lineage = LIVE if backfill is None else backfill_lineage(backfill)
    place = (manifest.log_id, pipeline.name, partition, lineage)
    path, kept = state.partition(*place), KeptDirectory(state.kept(*place), reached)

    def keeping() -> KeepingStore:
        store = open_store(path, partition, backfill)
        return KeepingStore(store, kept, pipeline.checkpoints, manifest.origins[partition])

    return PartitionHost(
        log,
        pipeline,
        manifest,
        partition,
        open_store=keeping,
        seal=seal,
        versions=versions,
        reached=reached,
        work=Work(path),
        publisher=publisher,
        backfill=backfill,
        since=since,
    )


def _refuse_lost_log(log: Log, manifest: Manifest, partition: int, state: StateDirectory) -> None:
    """Refuse to begin a log where state of another one lies: that one was removed or replaced."""
    name = manifest.pipeline
    if is_there(state.partition(manifest.log_id, name, partition)):
        return
    others = [log_id for log_id in state.logs_of(name) if log_id != manifest.log_id]
    if others and log.ledger_get(Topics(name).ledger, partition, "commit") is None:
        raise LogUntrusted(
            f"{state.root} has state of {name} from log {', '.join(others)}, but {log.url} is log "
            f"{manifest.log_id}, in which nothing of {name} was ever processed: the log was "
            "removed, replaced or moved.",
            attempt=f"put the log back or name it with --broker; to begin anew, move "
            f"{state.root / others[0] / name} away or name another directory with --state",
        )


def notices(host: PartitionHost) -> list[Notice]:
    """Return what is worth saying about how a partition was opened, before it does anything."""
    recovery = host.recovery
    rows = []
    if recovery.rebuild is not None:
        span = recovery.start.publish_from - recovery.start.position.next_offset
        rows.append(f"{recovery.rebuild}: learning {counted(span, 'record')} again from the log")
    if host.rolled_back:
        rows.append("the state came back older than it was left; the log makes up for it")
    rows += [
        f"version {name} leaves at offset {recovery.start.left[name]}: {why}. It comes back by "
        "stream-app backfill alone; until the first new record is committed, a start that runs it "
        "undoes that"
        for name, why in recovery.leaving.items()
    ]
    rows += [
        not_begun(version.name) for version in host.processor.versions if version.waits_for_file
    ]
    return [Notice(host.partition, text) for text in rows]


def left_out_notice(partition: int, waits: Waits) -> Notice:
    """Return what is worth saying of a declared version that a start does not host."""
    return Notice(partition, f"version {waits.version} is declared and not run: {waits.why}")


def run_hosts(
    log: Log,
    pipeline: Pipeline,
    hosts: Sequence[PartitionHost],
    *,
    stopped: Callable[[], bool],
    until: Mapping[int, int] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> None:
    """Process partitions in turn until `stopped`, or until the offsets of `until` are reached.

    Ends with a checkpoint of each partition. An exception leaves as it is, without one.
    """
    calm_garbage_collector()
    topic = Topics(pipeline.name).events
    done = dict.fromkeys([host.partition for host in hosts], 0)
    if report is not None:
        _report(log, topic, hosts, done, report)
    reported = time.monotonic()
    while not stopped():
        moved = 0
        for host in hosts:
            records = host.step(until=None if until is None else until[host.partition])
            done[host.partition] += records
            moved += records
            if stopped():
                break
        now = time.monotonic()
        if report is not None and now - reported >= REPORT_EVERY_S:
            reported = now
            _report(log, topic, hosts, done, report)
        if until is not None and all(host.idle for host in hosts):
            break
        if not moved:
            _wait(log, topic, hosts)
    for host in hosts:
        host.finish()
    if report is not None:
        _report(log, topic, hosts, done, report)


def _wait(log: Log, topic: str, hosts: Sequence[PartitionHost]) -> None:
    for host in hosts:
        if host.relearning or log.wait(
            topic, host.partition, host.next_offset, IDLE_WAIT_S / len(hosts)
        ):
            return


def _report(
    log: Log,
    topic: str,
    hosts: Sequence[PartitionHost],
    done: Mapping[int, int],
    report: Callable[[Progress], None],
) -> None:
    for host in hosts:
        report(progress_of(log, topic, host, done[host.partition]))


def progress_of(log: Log, topic: str, host: PartitionHost, records: int) -> Progress:
    """Return how far a partition is; `records` counts what this run has processed there."""
    return Progress(
        partition=host.partition,
        next_offset=host.next_offset,
        end=log.bounds(topic, host.partition)[1],
        committed=host.committed,
        relearning=host.relearning,
        records=records,
        commit=host.commit,
        work=host.work.figures(),
        evaluations=dict(host.processor.evaluations),
    )
