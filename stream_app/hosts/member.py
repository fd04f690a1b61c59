"""A worker on Kafka: the partitions that its consumer group gives it, each in a lane."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.errors import LogUnavailable, StreamAppError
from stream_app.hosts.embedded import (
    Owned,
    Word,
    calm_garbage_collector,
    notices,
    open_hosts,
    progress_of,
)
from stream_app.hosts.lanes import Lanes
from stream_app.hosts.manifests import require_own_partitions, require_same_events
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.replicated_store import ReplicatedStore
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.worker_name import worker_name
from stream_app.kafka.group import group_of
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.membership import Membership

# Stopping takes at most one batch, its commit and one checkpoint; beyond this something is stuck.
DRAIN_S = 30.0
REPORT_EVERY_S = 0.5
TELL_EVERY_S = 5.0
LOOK_EVERY_S = 0.1
IDLE_WAIT_S = 0.25
REBALANCE_MAX_S = 120.0
# The threads that speak to the broker want the interpreter briefly and often; by default a thread
# that learns keeps it for 5 ms.
SWITCH_S = 0.001


class Member:
    """One worker process; `say` may be called from any of its threads."""

    def __init__(
        self,
        log: KafkaLog,
        pipeline: Pipeline,
        manifest: Manifest,
        state: StateDirectory,
        *,
        name: str,
        versions: Collection[str] | None,
        until: Mapping[int, int] | None,
        say: Callable[[Word], None],
    ) -> None:
        self._log = log
        self._pipeline = pipeline
        self._manifest = manifest
        self._state = state
        self._versions = versions
        self._until = until
        self._saying = threading.Lock()
        self._say_unlocked = say
        self._topic = Topics(pipeline.name).events
        self._done: dict[int, int] = {}
        self._reported: dict[int, float] = {}
        self._name = name
        self._looking: asyncio.Future[None] | None = None
        self._lanes: Lanes[int, PartitionHost] = Lanes(self._open, self._serve)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped`, or until the ends of `until`; raises what ended a partition."""
        sys.setswitchinterval(SWITCH_S)
        calm_garbage_collector()
        asyncio.run(self._run(stopped))

    async def _run(self, stopped: Callable[[], bool]) -> None:
        membership = Membership(
            self._log.connection,
            group_of(self._log.connection, self._pipeline.name),
            [self._log.connection.prefix + self._topic],
            self._name,
            self._assigned,
        )
        try:
            await membership.start()
            await self._watch(membership, stopped)
        finally:
            # Partitions first: whoever takes them over finds them committed and saved.
            closing = asyncio.get_running_loop().run_in_executor(None, self._lanes.close, DRAIN_S)
            try:
                await closing
            finally:
                await membership.stop()

    async def _watch(self, membership: Membership, stopped: Callable[[], bool]) -> None:
        told = calm_since = time.monotonic()
        while not stopped() and not self._lanes.all_done():
            await asyncio.sleep(LOOK_EVERY_S)
            self._lanes.check()
            now = time.monotonic()
            if membership.crashed is not None:
                raise self._lost(membership.crashed)
            if not membership.rebalancing:
                calm_since = now
            elif now - calm_since > REBALANCE_MAX_S:
                raise self._lost(f"the group has been rebalancing for {REBALANCE_MAX_S:.0f} s")
            if now - told > TELL_EVERY_S:
                told = now
                await membership.tell_positions(self._positions())
                self._look_at_events()

    def _look_at_events(self) -> None:
        """Raise what the last look at the topic of events found, and begin the next one.

        Who reads a topic that was deleted and made anew, and is longer already, is not told.
        """
        looking, self._looking = self._looking, None
        if looking is not None and not looking.done():
            self._looking = looking
            return
        if looking is not None:
            with suppress(LogUnavailable):  # a broker that is away is the partitions' affair
                looking.result()
        loop = asyncio.get_running_loop()
        self._looking = loop.run_in_executor(None, require_same_events, self._log, self._manifest)

    def _positions(self) -> dict[tuple[str, int], int]:
        """Return the committed position of every partition that has one."""
        topic = self._log.connection.prefix + self._topic
        return {
            (topic, host.partition): host.commit.next_offset
            for host in self._lanes.hosts()
            if host.commit is not None
        }

    def _lost(self, why: object) -> StreamAppError:
        return LogUnavailable(
            f"the membership in the group of {self._pipeline.name} in {self._log.url} was lost: "
            f"{why}.",
            attempt="the same command again: nothing is lost; look whether the broker runs",
        )

    def _assigned(self, places: Set[tuple[str, int]]) -> None:
        partitions = {number for _, number in places}
        self._say(Owned(self._pipeline.name, tuple(sorted(partitions))))
        self._lanes.assign(partitions)

    def _open(self, partition: int) -> PartitionHost:
        require_own_partitions(self._log, self._manifest, partition + 1)
        [host] = open_hosts(
            self._log,
            self._pipeline,
            self._manifest,
            self._state,
            [partition],
            versions=self._versions,
            publisher=partial(ThreadPoolExecutor, 1, f"publisher-{partition}"),
            open_store=self._open_store,
        )
        for notice in notices(host):
            self._say(notice)
        self._report(host)
        return host

    def _open_store(self, path: Path, partition: int) -> ReplicatedStore:
        topic = Topics(self._pipeline.name).checkpoints
        key_id = self._state.seal().key_id
        return ReplicatedStore(path, lambda: self._log.checkpoints(topic, partition, key_id))

    def _serve(self, host: PartitionHost) -> bool:
        until = None if self._until is None else self._until[host.partition]
        records = host.step(until=until)
        self._done[host.partition] = self._done.get(host.partition, 0) + records
        ended = until is not None and host.idle
        if ended or time.monotonic() - self._reported[host.partition] >= REPORT_EVERY_S:
            self._report(host)
        if not records and not ended and not host.relearning:
            self._log.wait(self._topic, host.partition, host.next_offset, IDLE_WAIT_S)
        return not ended

    def _report(self, host: PartitionHost) -> None:
        self._reported[host.partition] = time.monotonic()
        self._say(progress_of(self._log, self._topic, host, self._done.get(host.partition, 0)))

    def _say(self, word: Word) -> None:
        with self._saying:
            self._say_unlocked(word)


def work_as_member(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    versions: Collection[str] | None,
    until: Mapping[int, int] | None,
    say: Callable[[Word], None],
    stopped: Callable[[], bool],
) -> None:
    """Be a member of the pipeline's group under a name of this machine and state directory."""
    assert isinstance(log, KafkaLog)  # noqa: S101 - a kafka:// URL opens no other
    with worker_name(state.root) as name:
        member = Member(
            log, pipeline, manifest, state, name=name, versions=versions, until=until, say=say
        )
        member.run(stopped)
