"""What `backfill` does: a version built from history in a lineage of its own, beside live.

It never goes beyond what the live lineage has committed, so that whatever it has built can join.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from stream_app.core.commit import Commit, Manifest
from stream_app.core.joining import hosted_already
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.recovery import require_unbroken
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.hosts.bounds import Bounds, Latest, Range, parse_bounds, ranges_of
from stream_app.hosts.checkpoints import look_at
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.declared_versions import require_declared
from stream_app.hosts.embedded import (
    OpenStore,
    Owned,
    Word,
    open_backfill,
    open_rocksdb,
    progress_of,
)
from stream_app.hosts.import_orders import import_orders, require_imported, require_imported_as
from stream_app.hosts.joining import built
from stream_app.hosts.known_definitions import require_known_as
from stream_app.hosts.log_url import is_kafka, open_broker
from stream_app.hosts.manifests import (
    commits,
    committed,
    read_manifest,
    require_own_partitions,
    require_same_events,
)
from stream_app.hosts.offline import seconds_of
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import require_settings
from stream_app.hosts.state_directory import StateDirectory, backfill_lineage
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.supervision import supervise
from stream_app.hosts.warm_forks import FOLDING, warm_up
from stream_app.hosts.worker_plan import WorkerPlan

BATCH = 10_000
REPORT_EVERY_S = 0.2
# As for live workers on Kafka: threads that speak to the broker want the interpreter often.
SWITCH_S = 0.001
LOOK_EVERY_S = 0.5

Say = Callable[[Word], None]


class BackfillPlan(WorkerPlan, frozen=True):
    """What `backfill` was asked for; with `follow` it goes on behind live until it is stopped.

    `begin` and `end` bound what is put out, as people write it (see hosts/bounds.py).
    """

    version: str = ""
    follow: bool = False
    begin: str = "earliest"
    end: str = "latest"


class Part(msgspec.Struct, frozen=True):
    """One partition of a backfill: from where it goes on, and up to where; live has come to `live`.

    `published` is how far outputs are out already, by this backfill or by live before; `begin` is
    where they begin, `checkpoint` where its saved state here stands.
    """

    partition: int
    next_offset: int
    end: int
    published: int
    begin: int
    origin: int
    live: int
    checkpoint: int | None = None


class Outlook(msgspec.Struct, frozen=True):
    """What a backfill would do: its parts, and about how long it would take; None: unknown."""

    parts: list[Part]
    seconds: float | None


def outlook(log: Log, pipeline: Pipeline, plan: BackfillPlan) -> Outlook:
    """Return what there is to do, with the checkpoints that it would go on from.

    Folds some records to see how fast this machine is; changes nothing.
    """
    manifest = read_manifest(log, pipeline.name)
    todo = [_with_checkpoint(part, manifest, plan) for part in planned(log, pipeline, plan)]
    begins = [part.checkpoint or manifest.origins[part.partition] for part in todo]
    records = [max(0, part.end - at) for part, at in zip(todo, begins, strict=True)]
    seconds = seconds_of(log, pipeline, manifest, plan.version, sum(records))
    share = max(records, default=0) / (sum(records) or 1)
    workers = max(1, min(plan.workers, len(todo)))
    return Outlook(todo, None if seconds is None else seconds * max(share, 1 / workers))


def _with_checkpoint(part: Part, manifest: Manifest, plan: BackfillPlan) -> Part:
    lineage = backfill_lineage(plan.version)
    place = (manifest.log_id, manifest.pipeline, part.partition, lineage)
    seen = look_at(StateDirectory(Path(plan.state)).partition(*place), manifest, part.partition)
    return msgspec.structs.replace(part, checkpoint=seen.checkpoint.next_offset)


def parts(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    version: str,
    ranges: Mapping[int, Range] | None = None,
) -> list[Part]:
    """Return what a backfill of a version has to do, in `ranges` if there are any.

    Raises `UsageError` for a version that is not declared, or that the live lineage runs, and
    where the pipeline has not begun.
    """
    require_declared(pipeline, version)
    found = commits(log, manifest)
    if not any(found):
        raise UsageError(
            f"{pipeline.name} has processed nothing yet in {log.url}, so there is no history",
            attempt="stream-app run FILE: its first start hosts every declared version",
        )
    if all(commit is None or version in commit.versions for commit in found):
        raise hosted_already(pipeline.name, version)
    firsts = list(manifest.origins)
    if pipeline.versions[version].start == "file":
        orders = import_orders(log, manifest, version, found)
        require_imported(pipeline.name, orders)
        require_imported_as(pipeline, orders)
        firsts = [orders.places[partition] + 1 for partition in range(manifest.partitions)]
    todo = []
    for partition, commit in enumerate(found):
        if commit is None or version in commit.versions:
            continue
        if ranges is not None and partition not in ranges:
            continue
        bounds = None if ranges is None else ranges[partition]
        first = min(firsts[partition], commit.next_offset)
        todo.append(_part(log, manifest, version, partition, commit, bounds, first))
    return todo


def _part(
    log: Log,
    manifest: Manifest,
    version: str,
    partition: int,
    live: Commit,
    bounds: Range | None,
    first: int,
) -> Part:
    """Return what there is to do; nothing that events before `first` cause is put out."""
    before = built(log, manifest.pipeline, version, partition)
    origin = manifest.origins[partition]
    left = live.left.get(version, origin)
    begin = first
    if bounds is not None and left <= origin:
        begin = max(first, min(bounds.begin, live.next_offset))
    end = live.next_offset if bounds is None else min(live.next_offset, bounds.end)
    if before is None:
        return Part(partition, origin, end, max(begin, left), begin, first, live.next_offset)
    standing = before.versions[version].published_from
    if bounds is not None and begin not in (first, standing):
        raise UsageError(
            f"the backfill of {version} puts out what events from {standing} on cause, and that "
            f"cannot begin at {begin} now",
            attempt=f"--from {partition}@{standing}, or none",
        )
    published = max(before.next_offset, left, standing)
    return Part(partition, before.next_offset, end, published, standing, first, live.next_offset)


def planned(log: Log, pipeline: Pipeline, plan: BackfillPlan) -> list[Part]:
    """Return what there is to do; raises as `parts` does, and for bounds that make no sense."""
    manifest = read_manifest(log, pipeline.name)
    require_same_events(log, manifest)
    require_own_partitions(log, manifest, log.topics().get(Topics(pipeline.name).events, 0))
    require_settings(log, manifest, pipeline)
    bounds = parse_bounds(plan.begin, plan.end, time.time_ns() // 1_000_000)
    ranges = None
    if bounds != Bounds():
        # Outputs may begin where live has come to, and that is where a version joins.
        upto_live = isinstance(bounds.end, Latest)
        ranges = ranges_of(log, manifest, bounds, known=pipeline.known, may_be_empty=upto_live)
    todo = parts(log, pipeline, manifest, plan.version, ranges)
    require_known_as(log, pipeline, manifest, plan.version)
    for part in todo:
        _require_events(log, pipeline.name, plan.version, part)
    return todo


def _require_events(log: Log, name: str, version: str, part: Part) -> None:
    """Raise `LogUntrusted` where events that it still has to learn from are gone."""
    if part.next_offset < part.end:
        start = log.bounds(Topics(name).events, part.partition)[0]
        require_unbroken(f"{name}/{part.partition}", start, part.next_offset, version)


def make_topics(log: Log, pipeline: Pipeline, version: str, partitions: int) -> None:
    """Make the topics that a backfill's lineage needs, or require them where an operator does."""
    topics = Topics(pipeline.name)
    needed = [topics.shadow(version)]
    if log.keeps_ledgers_in_topics:
        needed += [topics.ledger_of(version), topics.checkpoints_of(version)]
    log.create_topics(dict.fromkeys(needed, partitions))


def progressed(plan: BackfillPlan, before: Sequence[Part]) -> list[Part]:
    """Return how far that has come which there was to do, and up to where live is by now.

    Asked anew of the ledgers alone: a bound may have taken a pass over all events to find.
    """
    log = open_broker(plan.broker, read_only=True)
    try:
        name = load_pipeline(plan.spec).name
        return [_progressed(log, name, plan, part) for part in before]
    finally:
        log.close()


def _progressed(log: Log, name: str, plan: BackfillPlan, part: Part) -> Part:
    now = built(log, name, plan.version, part.partition)
    commit = committed(log, name, part.partition)
    live = part.live if commit is None else commit.next_offset
    next_offset = part.next_offset if now is None else now.next_offset
    return msgspec.structs.replace(
        part,
        next_offset=next_offset,
        end=live if plan.end == "latest" else part.end,
        published=max(part.published, next_offset),
        live=live,
    )


def backfill(plan: BackfillPlan, say: Say, stopped: StopFlag) -> list[Part]:
    """Build a version up to where live stands now; returns what there was to do.

    Partitions are shared by as many processes as `plan.workers`. What is interrupted goes on where
    it was; what is done already does nothing again. `Owned` is said once nothing is left to refuse.
    """
    pipeline = load_pipeline(plan.spec)
    log = open_broker(plan.broker)
    try:
        todo = planned(log, pipeline, plan)
        workers = max(1, min(plan.workers, len(todo)))
        if workers > 1:
            warm_up(*FOLDING)
        make_topics(log, pipeline, plan.version, read_manifest(log, pipeline.name).partitions)
        StateDirectory(Path(plan.state)).seal()
    finally:
        log.close()
    say(Owned(pipeline.name, tuple(part.partition for part in todo)))
    shares = [tuple(part.partition for part in todo[i::workers]) for i in range(workers)]
    until = {part.partition: part for part in todo}
    if workers == 1:
        _work(plan, shares[0], until, say, stopped)
    else:
        supervise(_work, plan, shares, until, say, stopped)
    return todo


def _work(
    plan: BackfillPlan,
    partitions: Sequence[int],
    until: dict[int, Part],
    say: Say,
    stopped: Callable[[], bool],
) -> None:
    """Build some partitions in this process, one after the other; followers all at once."""
    pipeline = load_pipeline(plan.spec)
    state = StateDirectory(Path(plan.state))
    log = open_broker(plan.broker)
    open_store: OpenStore = open_rocksdb
    publisher: Callable[[], Executor | None] = _none
    if is_kafka(plan.broker):
        from stream_app.hosts.replicated_store import open_replicated

        open_store = partial(open_replicated, log, pipeline.name, state.seal().key_id)
        # For a broker's answers one waits; writing to a file takes the interpreter all the while.
        publisher = partial(ThreadPoolExecutor, 1, "publisher")
        sys.setswitchinterval(SWITCH_S)
    try:
        manifest = read_manifest(log, pipeline.name)
        calm_garbage_collector()
        opened = partial(
            open_backfill,
            log,
            pipeline,
            manifest,
            state,
            version=plan.version,
            open_store=open_store,
        )
        builder = _Builder(log, pipeline.name, opened, publisher, say, stopped)
        if plan.follow:
            builder.follow([until[partition] for partition in partitions])
            return
        for partition in partitions:
            if stopped():
                break
            builder.build(until[partition])
    finally:
        log.close()


def _none() -> None:
    """Publish at once, and go on after that."""


class _Builder:
    """Builds partitions that `opened` opens, with a publisher each; `say` hears how far each is."""

    def __init__(
        self,
        log: Log,
        name: str,
        opened: Callable[..., PartitionHost],
        publisher: Callable[[], Executor | None],
        say: Say,
        stopped: Callable[[], bool],
    ) -> None:
        self._log = log
        self._name = name
        self._opened = opened
        self._publisher = publisher
        self._say = say
        self._stopped = stopped
        self._reported: dict[int, float] = {}
        self._done: dict[int, int] = {}

    def _open(self, part: Part) -> PartitionHost:
        return self._opened(partition=part.partition, publisher=self._publisher(), since=part.begin)

    def build(self, part: Part) -> None:
        """Bring one partition to its end."""
        host, until = self._open(part), part.end
        try:
            while not self._stopped() and (host.relearning or host.next_offset < until):
                self._step(host, until)
                if host.idle and not host.relearning:
                    break
            host.finish()
            self._report(host, until)
        finally:
            host.close()

    def follow(self, todo: Sequence[Part]) -> None:
        """Keep partitions right behind live until it is told to stop."""
        hosts = [self._open(part) for part in todo]
        try:
            while not self._stopped():
                moved = sum(self._step(host, host.live_position()) for host in hosts)
                if not moved and not any(host.relearning for host in hosts):
                    self._pause()
            for host in hosts:
                host.finish()
                self._report(host, host.live_position())
        finally:
            for host in hosts:
                host.close()

    def _pause(self) -> None:
        deadline = time.monotonic() + LOOK_EVERY_S
        while time.monotonic() < deadline and not self._stopped():
            time.sleep(0.05)

    def _step(self, host: PartitionHost, until: int) -> int:
        moved = host.step(BATCH, until=until)
        self._done[host.partition] = self._done.get(host.partition, 0) + moved
        now = time.monotonic()
        if now - self._reported.get(host.partition, 0.0) >= REPORT_EVERY_S:
            self._reported[host.partition] = now
            self._report(host, until)
        return moved

    def _report(self, host: PartitionHost, until: int) -> None:
        events = Topics(self._name).events
        done = self._done.get(host.partition, 0)
        word = progress_of(self._log, events, host, done)
        # What an earlier backfill has built may reach beyond what is wanted now.
        self._say(msgspec.structs.replace(word, end=max(until, host.next_offset)))
