"""A worker on Kafka: the partitions that its consumer group gives it, each in a lane."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.embedded import (
    Word,
    left_out_notice,
    notices,
    open_hosts,
    progress_of,
)
from stream_app.hosts.group_share import IDLE_WAIT_S, GroupShare
from stream_app.hosts.manifests import require_own_partitions
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.replicated_store import ReplicatedStore, open_replicated
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.worker_name import worker_name
from stream_app.kafka.group import group_of
from stream_app.kafka.log import KafkaLog

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
        self._topic = Topics(pipeline.name).events
        self._done: dict[int, int] = {}
        self._share: GroupShare[int, PartitionHost] = GroupShare(
            log,
            manifest,
            group=group_of(log.connection, pipeline.name),
            topics=[log.connection.prefix + self._topic],
            name=name,
            named=lambda _, number: number,
            open_host=self._open,
            serve=self._serve,
            positions=self._positions,
            say=say,
        )

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped`, or until the ends of `until`; raises what ended a partition."""
        sys.setswitchinterval(SWITCH_S)
        calm_garbage_collector()
        self._share.run(stopped)

    def _positions(self, hosts: Collection[PartitionHost]) -> dict[tuple[str, int], int]:
        """Return the committed position of every partition that has one."""
        topic = self._log.connection.prefix + self._topic
        return {
            (topic, host.partition): host.commit.next_offset
            for host in hosts
            if host.commit is not None
        }

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
            left_out=lambda number, waits: self._share.say(left_out_notice(number, waits)),
        )
        for notice in notices(host):
            self._share.say(notice)
        self._report(host)
        return host

    def _open_store(self, path: Path, partition: int, backfill: str | None) -> ReplicatedStore:
        key_id = self._state.seal().key_id
        return open_replicated(self._log, self._pipeline.name, key_id, path, partition, backfill)

    def _serve(self, host: PartitionHost) -> bool:
        until = None if self._until is None else self._until[host.partition]
        records = host.step(until=until)
        self._done[host.partition] = self._done.get(host.partition, 0) + records
        ended = until is not None and host.idle
        if ended or self._share.report_due(host.partition):
            self._report(host)
        if not records and not ended and not host.relearning:
            self._log.wait(self._topic, host.partition, host.next_offset, IDLE_WAIT_S)
        return not ended

    def _report(self, host: PartitionHost) -> None:
        done = self._done.get(host.partition, 0)
        self._share.report(host.partition, progress_of(self._log, self._topic, host, done))


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
