"""The right to write one ledger's partition on Kafka: a transactional producer that fences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender

from stream_app.codec.partitioning import require_partition
from stream_app.core.log_rules import released, require_current
from stream_app.kafka.batches import BATCH_BYTES_MAX, Sent, send_records, settled
from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.connection import Connection
from stream_app.kafka.ending import (
    Transactions,
    end_hanging,
    standing,
    still_open,
    was_committed,
)
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.ledger import COMMIT, NEXT_OFFSET, newest, next_offset_of
from stream_app.records import NewRecord, Output

# A dead owner's open transaction hides later records from readers for at most this long.
TRANSACTION_TIMEOUT_MS = 30_000
# A transaction begun right after another meets one that is still ending, for a millisecond or two;
# the client would wait 20 ms before it tries again, and 100 ms later on.
RETRY_BACKOFF_MS = 3
sender.BACKOFF_OVERRIDE = RETRY_BACKOFF_MS / 1000


def transactional_producer(connection: Connection, transactional_id: str) -> AIOKafkaProducer:
    """Return a producer that is not started yet; starting it fences the previous one."""
    return AIOKafkaProducer(
        **connection.client_options(),
        transactional_id=connection.prefix + transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        max_batch_size=BATCH_BYTES_MAX,
        linger_ms=0,
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )


async def start_fencing(
    connection: Connection, producer: AIOKafkaProducer, places: Sequence[tuple[str, int]]
) -> int:
    """Start a transactional producer; returns a number that grows with every start of its id.

    `places` are the partitions that its transactions write: what hangs there is ended.
    """
    manager = producer._txn_manager
    try:
        before = await standing(connection, manager.transactional_id)
        named = [TopicPartition(connection.prefix + topic, number) for topic, number in places]
        # One that cannot be asked is an error while the coordinator still knows how it ended.
        await still_open(connection, named)
        await producer.start()
        if before is not None:
            committed = was_committed(before, manager.producer_id, manager.producer_epoch)
            await end_hanging(connection, producer, named, committed=committed)
    except BaseException:
        await producer.stop()
        raise
    return (manager.producer_id << 16) | manager.producer_epoch  # type: ignore[no-any-return]


class KafkaClaim:
    """A `Claim` whose fence is the broker's: the newest producer of a transactional id wins.

    After an error in a transaction nothing is tried again: whether it was committed is for the
    next owner to read. `writes` are the topics that transactions write, the ledger among them;
    `count` returns a topic's partitions, or raises `UsageError`; `reached` is called with the name
    of every step of a publish, and crash tests die there.
    """

    def __init__(
        self,
        loop: EventLoopThread,
        connection: Connection,
        ledger: str,
        partition: int,
        writes: Sequence[str],
        count: Callable[[str], int],
        reached: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._ledger = ledger
        self._partition = partition
        self._writes = writes
        self._count = count
        self._reached = reached
        self._released = False
        self._standing: int | None = None
        self._commit: bytes | None = None
        self._epoch = self._loop.run(self._begin())

    async def _begin(self) -> int:
        doing = f"taking over {self._ledger}/{self._partition}"
        self._producer = transactional_producer(
            self._connection, f"{self._ledger}-{self._partition}"
        )
        with named_errors(self._connection.url, doing):
            places = [(topic, self._partition) for topic in self._writes]
            epoch = await start_fencing(self._connection, self._producer, places)
            try:
                found = await newest(self._connection, self._ledger, self._partition, COMMIT)
            except BaseException:
                await self._producer.stop()
                raise
        self._transactions = Transactions(self._connection, self._producer)
        if found is not None:
            self._commit, self._standing = found.value, next_offset_of(found)
        return epoch

    @property
    def epoch(self) -> int:
        """A number that grows with every claim of this ledger and partition."""
        return self._epoch

    def committed(self) -> bytes | None:
        """Return the newest commit record's bytes, or None when nothing was ever committed."""
        return self._commit

    def publish(
        self, outputs: Sequence[Output], commit: bytes, *, expected: int | None, next_offset: int
    ) -> None:
        """Append `outputs` and replace the commit record in one transaction.

        Raises `Fenced` when a newer claim has begun or the position is not ours, and then no
        `read_committed` reader sees anything of it.
        """
        if self._released:
            raise released(self._ledger, self._partition)
        require_current(
            self._ledger,
            self._partition,
            claimed=(self._epoch, expected),
            standing=(self._epoch, self._standing),
        )
        by_topic: dict[str, list[Output]] = {}
        for output in outputs:
            by_topic.setdefault(output.topic, []).append(output)
        for topic in by_topic:
            # The client would look for it for 40 seconds, with the transaction open.
            require_partition(topic, self._partition, self._count(topic))
        self._loop.run(self._transact(by_topic, commit, next_offset))
        self._standing, self._commit = next_offset, commit

    async def _transact(
        self, by_topic: Mapping[str, Sequence[Output]], commit: bytes, next_offset: int
    ) -> None:
        producer, prefix = self._producer, self._connection.prefix
        headers = ((NEXT_OFFSET, b"%d" % next_offset),)
        record = NewRecord(COMMIT, commit, headers)

        async def send() -> None:
            sent: list[Sent] = []
            for topic, rows in by_topic.items():
                sent += await send_records(producer, prefix + topic, self._partition, rows)
            self._reached("outputs sent")
            sent += await send_records(producer, prefix + self._ledger, self._partition, [record])
            await settled(producer, sent)
            self._reached("transaction whole")

        with named_errors(self._connection.url, f"publishing {self._ledger}/{self._partition}"):
            try:
                await self._transactions.transact(send)
                self._reached("transaction committed")
            except BaseException:
                self._released = True
                raise

    def release(self) -> None:
        """Give the claim back: what is open is aborted by the next owner or by its time-out."""
        self._released = True
        self._loop.run(self._producer.stop())
