"""An intake worker on Kafka: the source partitions that its group gives it, each in a lane."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Set
from functools import partial

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.source_position import place_name
from stream_app.errors import LogUnavailable, StreamAppError, UsageError
from stream_app.hosts.embedded import Owned
from stream_app.hosts.lanes import Lanes
from stream_app.hosts.pace import Pace
from stream_app.hosts.source_copying import Word, open_source, source_counts, source_progress
from stream_app.hosts.source_host import SourceHost
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.worker_name import worker_name
from stream_app.kafka.group import intake_group_of
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.membership import Membership

DRAIN_S = 30.0
REPORT_EVERY_S = 0.5
TELL_EVERY_S = 5.0
LOOK_EVERY_S = 0.1
IDLE_WAIT_S = 0.25
REBALANCE_MAX_S = 120.0


class IntakeMember:
    """One worker process; `say` may be called from any of its threads."""

    def __init__(
        self,
        log: KafkaLog,
        pipeline: Pipeline,
        manifest: Manifest,
        *,
        name: str,
        until: Mapping[str, int] | None,
        say: Callable[[Word], None],
    ) -> None:
        self._log = log
        self._pipeline = pipeline
        self._until = until
        self._saying = threading.Lock()
        self._say_unlocked = say
        self._reported: dict[str, float] = {}
        self._membership: Membership
        self._name = name
        self._counts = source_counts(log, pipeline)
        self._open_source = partial(open_source, log, pipeline, manifest, pace=Pace())
        self._lanes: Lanes[str, SourceHost] = Lanes(self._open, self._serve)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped`, or until the ends of `until`; raises what ended a partition."""
        asyncio.run(self._run(stopped))

    async def _run(self, stopped: Callable[[], bool]) -> None:
        connection = self._log.connection
        group = intake_group_of(connection, self._pipeline.name)
        membership = Membership(connection, group, list(self._counts), self._name, self._assigned)
        try:
            await membership.start()
            await self._watch(membership, stopped)
        finally:
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

    def _positions(self) -> dict[tuple[str, int], int]:
        hosts = self._lanes.hosts()
        return {(host.topic, host.partition): host.position.next_offset for host in hosts}

    def _lost(self, why: object) -> StreamAppError:
        return LogUnavailable(
            f"the membership in the intake group of {self._pipeline.name} in {self._log.url} was "
            f"lost: {why}.",
            attempt="the same command again: nothing is lost; look whether the broker runs",
        )

    def _assigned(self, places: Set[tuple[str, int]]) -> None:
        names = {place_name(topic, number) for topic, number in places}
        self._say(Owned(self._pipeline.name, tuple(sorted(names))))
        self._lanes.assign(names)

    def _open(self, place: str) -> SourceHost:
        topic, _, number = place.rpartition("/")
        if int(number) >= self._counts[topic]:  # a topic may be given more of them
            self._counts = source_counts(self._log, self._pipeline)
        host = self._open_source(place)
        self._report(host)
        return host

    def _serve(self, host: SourceHost) -> bool:
        # A partition that came after the start has no end of then.
        until = None if self._until is None else self._until.get(host.place, 0)
        records = host.step(until=until)
        ended = until is not None and host.idle
        if ended or time.monotonic() - self._reported[host.place] >= REPORT_EVERY_S:
            self._report(host)
        if not records and not ended:
            host.wait(IDLE_WAIT_S)
        return not ended

    def _report(self, host: SourceHost) -> None:
        self._reported[host.place] = time.monotonic()
        self._say(source_progress(host))

    def _say(self, word: Word) -> None:
        with self._saying:
            self._say_unlocked(word)


def intake_as_member(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    state: StateDirectory,
    until: Mapping[str, int] | None,
    say: Callable[[Word], None],
    stopped: Callable[[], bool],
) -> None:
    """Be a member of the pipeline's intake group, under a name of this machine and directory."""
    assert isinstance(log, KafkaLog)  # noqa: S101 - a kafka:// URL opens no other
    _require_foreign(log, pipeline)
    with worker_name(state.root, "intake") as name:
        member = IntakeMember(log, pipeline, manifest, name=name, until=until, say=say)
        member.run(stopped)


def _require_foreign(log: KafkaLog, pipeline: Pipeline) -> None:
    """Raise `UsageError` for a source that is the pipeline's own: it would be copied for ever."""
    own = f"{log.connection.prefix}{pipeline.name}."
    for source in pipeline.sources:
        if source.topic.startswith(own):
            raise UsageError(
                f"{source.topic} is one of the topics of {pipeline.name} itself, below {own}",
                attempt="the topic of somebody else in the declaration",
            )
