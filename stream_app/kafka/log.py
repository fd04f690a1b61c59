"""The event log on Apache Kafka: the same protocol as on one machine, carried out by brokers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.codec.partitioning import partitions_for, require_partition
from stream_app.core.log import DiskUse, LedgerPlace, Owner, Sources
from stream_app.core.log_rules import (
    require_bounded_read,
    require_plain_key,
    require_same_counts,
    unknown_topic,
)
from stream_app.core.topics import Topics, outputs_of
from stream_app.errors import Fenced, LogBusy, UsageError
from stream_app.kafka.batches import BATCH_BYTES_MAX, offsets_of, send_records
from stream_app.kafka.checkpoints import CheckpointTopic
from stream_app.kafka.claim import KafkaClaim
from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.connection import Connection
from stream_app.kafka.cursor import Cursor, open_asker, open_cursor, to_record
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.group import group_of, owners_of
from stream_app.kafka.ledger import COMMIT, newest
from stream_app.kafka.probe import probe
from stream_app.kafka.topic_ids import TopicSeen, topic_seen
from stream_app.kafka.value_claim import KafkaValueClaim
from stream_app.kafka.visibility import require_visible
from stream_app.records import NewRecord, Record

CURSORS_MAX = 64
WAIT_TURN_S = 0.1
# A commit that was acknowledged shows itself within a moment.
LOOK_S = 2.0
# Whoever sets a ledger value fences who is at it just then, who tries again.
EXCHANGE_TRIES = 8
T = TypeVar("T")
UseOfCursor = Callable[[Cursor], Coroutine[Any, Any, T]]


def _nothing(_step: str) -> None:
    """Watch no steps."""


class KafkaLog:
    """A `Log` on a Kafka cluster; topics are its operator's, and are never made or changed here.

    `append` is durable once all in-sync replicas have it. Its records are whole per batch and
    partition; after an error part of them may be there, and sending them again is safe: an id
    that is known already becomes a dead letter. Every call may raise `LogUnavailable`.
    `reached` is called with the name of every step of a claim's publish; crash tests die there.
    """

    keeps_ledgers_in_topics = True
    # The end of a transaction has one too, and so have records that compaction took.
    every_offset_is_a_record = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = EventLoopThread()
        self._closed = False
        self.reached: Callable[[str], None] = _nothing
        self._cursors: OrderedDict[tuple[str, int], Cursor] = OrderedDict()
        self._opening = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._asker: AIOKafkaConsumer | None = None
        self._counts: dict[str, int] = {}
        self._claims: list[KafkaClaim | KafkaValueClaim] = []
        self._sources: KafkaLog | None = None
        try:
            self._run("connecting", probe(connection))
            self._log_id: str = self._run("looking at the cluster", self._look())
        except BaseException:
            self._loop.close()
            raise

    @property
    def connection(self) -> Connection:
        """How this log reaches its cluster."""
        return self._connection

    @property
    def url(self) -> str:
        """How a person names this log."""
        return self._connection.url

    @property
    def log_id(self) -> str:
        """The identity of the cluster."""
        return self._log_id

    def topic_id(self, topic: str) -> str:
        """Return the id that the cluster gave the topic; empty from brokers before Kafka 3.1."""
        self._count(topic)
        return self.topic_seen(topic).identity

    def topic_seen(self, topic: str) -> TopicSeen:
        """Return a topic's id and partitions by one question; before Kafka 3.1 without an id."""
        name = self._connection.prefix + topic
        found = self._run(f"looking at {topic}", topic_seen(self._connection, name))
        if found is None:
            raise unknown_topic(self.url, topic, self.topics())
        if not found.identity:
            return found._replace(partitions=self.topics().get(topic, 0))
        return found

    def topics(self) -> Mapping[str, int]:
        """Return the partition count of every topic below the prefix."""
        self._run("listing topics", self._look())
        return dict(self._counts)

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Require that these topics are there: making them is for `stream-app topics`.

        Raises `UsageError` when one is missing or has another count.
        """
        missing = require_same_counts(partitions, self.topics())
        if missing:
            self._run("looking at topics", require_visible(self._connection, missing))
            raise UsageError(
                f"{self.url} lacks the topics {', '.join(missing)}.",
                attempt="stream-app topics FILE --create --broker " + self.url,
            )

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """Append durably; returns each record's (partition, offset)."""
        partitions = partitions_for(topic, records, self._count(topic))
        by_partition: dict[int, list[NewRecord]] = {}
        places = []
        for record, partition in zip(records, partitions, strict=True):
            rows = by_partition.setdefault(partition, [])
            places.append((partition, len(rows)))
            rows.append(record)
        offsets = self._run(f"appending to {topic}", self._append(topic, by_partition))
        return [(partition, offsets[partition][place]) for partition, place in places]

    async def _append(
        self, topic: str, by_partition: Mapping[int, Sequence[NewRecord]]
    ) -> dict[int, list[int]]:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                **self._connection.client_options(),
                enable_idempotence=True,
                max_batch_size=BATCH_BYTES_MAX,
            )
            await self._producer.start()
        name = self._connection.prefix + topic
        sent = {p: await send_records(self._producer, name, p, r) for p, r in by_partition.items()}
        return {
            partition: await offsets_of(self._producer, batches)
            for partition, batches in sent.items()
        }

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 1 << 24
    ) -> list[Record]:
        """Return committed records from `offset` on, in order, at least one if there is one."""
        require_bounded_read(records_max, bytes_max)
        rows = self._at(topic, partition, lambda c: c.read(offset, records_max, bytes_max))
        return [to_record(row, topic) for row in rows]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset still kept, first offset that no reader may see yet)."""
        return self._at(topic, partition, lambda cursor: cursor.bounds())

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until `offset` may be readable; False when the time ran out."""
        deadline = time.monotonic() + timeout_s
        while True:
            # In turns, so that another thread can read the partition meanwhile.
            turn_s = min(WAIT_TURN_S, max(0.0, deadline - time.monotonic()))
            if self._at(topic, partition, lambda cursor: cursor.wait(offset, turn_s)):  # noqa: B023
                return True
            if time.monotonic() >= deadline:
                return False

    def claim(self, ledger: str, partition: int) -> KafkaClaim:
        """Fence any previous owner of this ledger's partition and own it."""
        self._require_open()
        require_partition(ledger, partition, self._count(ledger))
        claim = KafkaClaim(
            self._loop,
            self._connection,
            ledger,
            partition,
            self._written_by(ledger, partition),
            self._count,
            self.reached,
        )
        self._claims.append(claim)
        return claim

    def _written_by(self, ledger: str, partition: int) -> list[str]:
        """Return the topics that the owner of a ledger's partition writes to."""
        outputs = outputs_of(ledger, self._counts)
        return [ledger, *(topic for topic in outputs if partition < self._counts[topic])]

    def ledger_get(self, ledger: str, partition: int, key: str) -> bytes | None:
        """Return a ledger value, or None."""
        if partition >= self._counts.get(ledger, 0) and partition >= self.topics().get(ledger, 0):
            self._run(f"reading {ledger}", require_visible(self._connection, [ledger]))
            return None
        # A commit that a dead owner left open is undone by the next one, who waits for that.
        patience_s = LOOK_S if key.encode() == COMMIT else None
        found = self._run(
            f"reading {ledger}",
            newest(self._connection, ledger, partition, key.encode(), patience_s=patience_s),
        )
        return None if found is None else found.value

    def ledger_put(
        self, ledger: str, partition: int, key: str, value: bytes, *, expected: bytes | None
    ) -> bool:
        """Set a ledger value if it still equals `expected`; durable; False when it does not."""
        require_plain_key(key)
        place = LedgerPlace(ledger, partition, key)
        return self.append_with_ledger("", [], place, value, expected=expected) is not None

    def append_with_ledger(
        self,
        topic: str,
        records: Sequence[NewRecord],
        place: LedgerPlace,
        value: bytes,
        *,
        expected: bytes | None,
    ) -> list[tuple[int, int]] | None:
        """Append and set a ledger value as one step; None when it is not `expected`.

        Whoever else is at the value just then is fenced, and so may we be: it is tried until
        nobody comes between, since who does may fail itself.
        """
        for number in range(EXCHANGE_TRIES):
            claim = None
            try:
                claim = self.claim_value(place)
                if claim.value() != expected:
                    return None
                return claim.append(topic, records, value, expected=expected)
            except Fenced:
                # Not in step with the other, or both could go on for ever.
                time.sleep(random.uniform(0, 0.05 * 2**number))  # noqa: S311 - no secret
            finally:
                if claim is not None:
                    self._claims.remove(claim)
                    claim.release()
        raise LogBusy(
            f"others kept setting the {place} in {self.url}.", attempt="the same command again"
        )

    def claim_value(self, place: LedgerPlace) -> KafkaValueClaim:
        """Fence any previous owner of a ledger value and own it."""
        require_plain_key(place.key)
        require_partition(place.ledger, place.partition, self._count(place.ledger))
        events = Topics(place.ledger.rpartition(".")[0]).events
        beside = [(events, number) for number in range(self._counts.get(events, 0))]
        claim = KafkaValueClaim(
            self._loop, self._connection, place, beside, self._count, self.reached
        )
        self._claims.append(claim)
        return claim

    def sources(self) -> Sources:
        """Return all topics of the cluster, by their names as they are: without our prefix."""
        if not self._connection.prefix:
            return self
        if self._sources is None:
            self._sources = KafkaLog(msgspec.structs.replace(self._connection, prefix=""))
        return self._sources

    def checkpoints(self, topic: str, partition: int, key_id: bytes) -> CheckpointTopic:
        """Fence any previous writer of a partition's checkpoints and own them."""
        require_partition(topic, partition, self._count(topic))
        return CheckpointTopic(self._loop, self._connection, topic, partition, key_id)

    def owner(self, ledger: str, partition: int) -> Owner | None:
        """Return the member of the pipeline's group that the partition is assigned to."""
        if not ledger.endswith(".ledger"):  # a backfill is no member of a group
            return None
        pipeline = ledger.removesuffix(".ledger")
        group, topic = group_of(self._connection, pipeline), Topics(pipeline).events
        owners = self._run(
            f"looking at group {group}",
            owners_of(self._connection, group, self._connection.prefix + topic),
        )
        member = owners.get(partition)
        return None if member is None else Owner(member)

    def disk_use(self) -> DiskUse | None:
        """Return None: it is on the brokers' disks."""
        return None

    def close(self) -> None:
        """Disconnect, and give claims back; a second call does nothing."""
        if self._closed:
            return
        for claim in self._claims:
            claim.release()
        self._closed = True
        if self._sources is not None:
            self._sources.close()
        self._loop.run(self._disconnect())
        self._loop.close()

    async def _disconnect(self) -> None:
        stops: list[Awaitable[object]] = [cursor.close() for cursor in self._cursors.values()]
        stops += [client.stop() for client in (self._producer, self._asker) if client is not None]
        await asyncio.gather(*stops)

    async def _look(self) -> str:
        admin = AIOKafkaAdminClient(**self._connection.client_options())
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            topics = await admin.describe_topics()
        finally:
            await admin.close()
        prefix = self._connection.prefix
        self._counts = {
            row["topic"].removeprefix(prefix): len(row["partitions"])
            for row in sorted(topics, key=lambda row: str(row["topic"]))
            if row["topic"].startswith(prefix) and not row["is_internal"]
        }
        return str(cluster["cluster_id"])

    def _count(self, topic: str) -> int:
        self._require_open()
        count = self._counts.get(topic) or self.topics().get(topic)
        if count is None:
            self._run("looking at topics", require_visible(self._connection, [topic]))
            raise unknown_topic(self.url, topic, self._counts)
        return count

    def _at(self, topic: str, partition: int, call: UseOfCursor[T]) -> T:
        require_partition(topic, partition, self._count(topic))
        return self._run(f"reading {topic}/{partition}", self._with_cursor(topic, partition, call))

    async def _with_cursor(self, topic: str, partition: int, call: UseOfCursor[T]) -> T:
        cursor = await self._cursor((topic, partition))
        async with cursor.turn:
            return await call(cursor)

    async def _cursor(self, place: tuple[str, int]) -> Cursor:
        """Return a partition's reader; opened one after another, so that none is opened twice."""
        async with self._opening:
            if place not in self._cursors:
                if self._asker is None:
                    self._asker = await open_asker(self._connection)
                self._cursors[place] = await open_cursor(self._connection, self._asker, *place)
                idle = [at for at, one in self._cursors.items() if not one.turn.locked()]
                for at in idle[: max(0, len(self._cursors) - CURSORS_MAX)]:
                    if at != place:
                        await self._cursors.pop(at).close()
            self._cursors.move_to_end(place)
            return self._cursors[place]

    def _run(self, doing: str, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            coroutine.close()
            self._require_open()
        with named_errors(self.url, doing):
            return self._loop.run(coroutine)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"The log {self.url} is closed.", attempt="open it again.")
