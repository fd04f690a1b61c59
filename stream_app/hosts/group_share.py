"""What its consumer group gives a worker on Kafka: partitions in lanes, under one watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence, Set
from contextlib import suppress
from typing import Any, Generic, TypeVar

from stream_app.core.commit import Manifest
from stream_app.core.topics import Topics
from stream_app.errors import LogUnavailable, StreamAppError
from stream_app.hosts.embedded import Owned
from stream_app.hosts.lanes import Host, Lanes
from stream_app.hosts.manifests import require_own_partitions, require_same_id
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.membership import Membership

# Stopping takes at most one batch, its commit and one checkpoint; beyond this something is stuck.
DRAIN_S = 30.0
REPORT_EVERY_S = 0.5
TELL_EVERY_S = 5.0
LOOK_EVERY_S = 0.1
IDLE_WAIT_S = 0.25
REBALANCE_MAX_S = 120.0

P = TypeVar("P", int, str)
H = TypeVar("H", bound=Host)


class GroupShare(Generic[P, H]):
    """A worker process's share of `topics`: each partition that the group gives it in a lane.

    `named` is what a lane calls a topic's partition; `positions` says where the hosts are. `say`
    is called from any thread; `expect` hears what is ours before any of it is opened. Leaves
    out the work: `open_host` and `serve` are as in `Lanes`.
    """

    def __init__(
        self,
        log: KafkaLog,
        manifest: Manifest,
        *,
        group: str,
        topics: Sequence[str],
        name: str,
        named: Callable[[str, int], P],
        open_host: Callable[[P], H],
        serve: Callable[[H], bool],
        positions: Callable[[Collection[H]], dict[tuple[str, int], int]],
        say: Callable[[Any], None],
        expect: Callable[[Set[P]], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._manifest = manifest
        self._group = group
        self._topics = list(topics)
        self._name = name
        self._named: Callable[[str, int], P] = named
        self._positions = positions
        self._expect: Callable[[Set[P]], None] = expect
        self.say = say
        self._reported: dict[P, float] = {}
        self._looking: asyncio.Future[None] | None = None
        self._lanes: Lanes[P, H] = Lanes(open_host, serve)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped` or until every lane is done.

        Raises what ended a lane, `LogUnavailable` for a membership that was lost, and what is
        wrong with the topic of events: deleted, made anew, or given partitions.
        """
        asyncio.run(self._run(stopped))

    def report(self, place: P, word: Any) -> None:
        """Pass on how far a partition is, and take note of when."""
        self._reported[place] = time.monotonic()
        self.say(word)

    def report_due(self, place: P) -> bool:
        """Tell whether a partition's last report is old enough for another one."""
        return time.monotonic() - self._reported[place] >= REPORT_EVERY_S

    async def _run(self, stopped: Callable[[], bool]) -> None:
        membership = Membership(
            self._log.connection, self._group, self._topics, self._name, self._assigned
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
                await membership.tell_positions(self._positions(self._lanes.hosts()))
                self._look_at_events()
            self._heed_look()

    def _look_at_events(self) -> None:
        """Begin to look at the topic of events, unless the last look still goes on.

        Who reads a topic that was deleted and made anew, and is longer already, is not told, nor
        is who appends to it.
        """
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(None, self._require_own_events)

    def _heed_look(self) -> None:
        if self._looking is not None and self._looking.done():
            looking, self._looking = self._looking, None
            with suppress(LogUnavailable):  # a broker that is away is the partitions' affair
                looking.result()

    def _require_own_events(self) -> None:
        seen = self._log.topic_seen(Topics(self._manifest.pipeline).events)
        require_own_partitions(self._log, self._manifest, seen.partitions)
        require_same_id(self._log, self._manifest, seen.identity)

    def _lost(self, why: object) -> StreamAppError:
        return LogUnavailable(
            f"the membership in the group {self._group} in {self._log.url} was lost: {why}.",
            attempt="the same command again: nothing is lost; look whether the broker runs",
        )

    def _assigned(self, places: Set[tuple[str, int]]) -> None:
        names = {self._named(topic, number) for topic, number in places}
        self.say(Owned(self._manifest.pipeline, tuple(sorted(names))))
        self._expect(names)
        self._lanes.assign(names)
