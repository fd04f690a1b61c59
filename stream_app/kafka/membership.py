"""Membership in a pipeline's consumer group: a Faust app that is told which partitions are ours.

Faust runs the app, the consumer thread with heartbeats and rebalances, and its supervision.
Records do not pass through it: its fetcher, agents, tables and commits stay out of the event
path. A partition's own reader goes where the fold stands, and the broker fences its writer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import timedelta
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from yarl import URL

from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.connection import Connection
from stream_app.kafka.visibility import require_group

# A worker that is gone without a word is missed after this long; a static member that comes
# back within it gets its partitions without a rebalance.
SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 1.0
REQUEST_TIMEOUT_S = 30.0
START_TIMEOUT_S = 60.0
Assigned = Callable[[Set[tuple[str, int]]], None]
# Services tell every step of theirs, in the name of the module that a class is in.
for _chatty in ("faust", "mode", __name__):
    logging.getLogger(_chatty).setLevel(logging.WARNING)


class _NoFetching(Consumer):
    """Faust's consumer for a group's sake only."""

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _MemberThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Take nothing: partitions read for themselves."""
        while not (self.should_stop or fetcher.should_stop):
            await self.sleep(1.0)

    async def perform_seek(self) -> None:
        """Leave positions alone: ours are in the ledger."""


class _MemberThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002
        member: Membership = self.app.membership  # type: ignore[attr-defined]
        return AIOKafkaConsumer(
            **{**member.connection.client_options(), "client_id": member.name},
            group_id=member.group,
            group_instance_id=member.name,
            partition_assignment_strategy=[StickyPartitionAssignor],
            enable_auto_commit=False,
            # What this one fetches nobody reads; the readers of partitions say "none".
            auto_offset_reset="latest",
            # Partitions that are added are noticed so soon.
            metadata_max_age_ms=10_000,
            max_partition_fetch_bytes=1,
            fetch_max_wait_ms=5_000,
            max_poll_interval_ms=24 * 3600 * 1000,
            session_timeout_ms=int(SESSION_TIMEOUT_S * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_S * 1000),
            rebalance_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        )


class _MemberTransport(Transport):
    Consumer = _NoFetching


class _App(faust.App):
    def _create_directories(self) -> None:
        """Make none: they are for tables, and a service may have no right to write where it is."""


class _NoTables(TableManager):
    async def sleep(self, n: timedelta | float | str) -> None:
        """Go on: a start waits a second for tables, and there are none."""


class _NoProducer(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class Membership:
    """One worker in a group; `assigned` hears the (topic, partition)s that are its own.

    `topics` are named as they are in the cluster. Made in the event loop that it runs in. `name`
    is stable across restarts of a worker (static membership, KIP-345): a worker that comes back in
    time moves nobody's partitions.
    """

    def __init__(
        self,
        connection: Connection,
        group: str,
        topics: Sequence[str],
        name: str,
        assigned: Assigned,
    ) -> None:
        self.connection = connection
        self.group = group
        self.name = name
        self._topics = topics
        self._assigned = assigned
        self._app = self._make_app()

    def _make_app(self) -> Any:
        url = URL(f"kafka://{self.connection.servers[0]}")
        app: Any = _App(
            self.group,
            broker=url,
            autodiscover=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_wait_empty=False,
            table_standby_replicas=0,
            broker_session_timeout=SESSION_TIMEOUT_S,
            broker_heartbeat_interval=HEARTBEAT_S,
            broker_request_timeout=REQUEST_TIMEOUT_S,
            worker_redirect_stdouts=False,
            TableManager=_NoTables,
        )
        app.membership = self
        app.BootStrategy = _NoProducer
        app.boot_strategy = _NoProducer(app)
        app.transport = _MemberTransport([url], app)
        for topic in self._topics:
            app.topics.add(app.topic(topic, value_serializer="raw", acks=False))
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        return app

    async def _on_assigned(self, _app: Any, assigned: Set[Any], **_: Any) -> None:
        self._assigned({(tp.topic, tp.partition) for tp in assigned if tp.topic in self._topics})

    @property
    def rebalancing(self) -> bool:
        """Whether the group is sharing its partitions anew just now."""
        return bool(self._app.rebalancing)

    @property
    def crashed(self) -> BaseException | None:
        """What ended the membership, or None."""
        reason: BaseException | None = self._app.crash_reason
        return reason

    async def start(self) -> None:
        """Join; returns when the app runs, which may be before partitions are ours.

        Raises `LogUnavailable` when the broker went away in between.
        """
        with named_errors(self.connection.url, f"joining the group {self.group}"):
            await require_group(self.connection, self.group)
            # Faust asks for ever where it may look and not join.
            await asyncio.wait_for(self._app.start(), START_TIMEOUT_S)

    async def stop(self) -> None:
        """Leave, bounded in time, so that others take the partitions over at once.

        A static member would only fall silent, which is right after a crash and slow for a
        farewell.
        """
        if not self._app.started:
            return  # what kept it from joining is what has to be said
        coordinator = getattr(self._app.consumer._thread._consumer, "_coordinator", None)
        if coordinator is not None:
            coordinator._group_instance_id = None
        await asyncio.wait_for(self._app.stop(), REQUEST_TIMEOUT_S)

    async def tell_positions(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit positions to the group, for tools that show lag; nothing of ours reads them."""
        places = {
            TopicPartition(*place): OffsetAndMetadata(offset, "")
            for place, offset in next_offsets.items()
        }
        try:
            await self._app.consumer._thread.call_thread(self._commit, places)
        except Exception as error:
            logging.getLogger("stream_app.kafka").debug("positions_not_told", exc_info=error)

    async def _commit(self, places: dict[TopicPartition, OffsetAndMetadata]) -> None:
        consumer = self._app.consumer._thread._ensure_consumer()
        ours = consumer.assignment()
        await consumer.commit({place: at for place, at in places.items() if place in ours})
