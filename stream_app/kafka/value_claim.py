"""The right to set one ledger value on Kafka, with records beside it, in a fenced transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stream_app.codec.partitioning import partitions_for
from stream_app.core.log import LedgerPlace
from stream_app.core.log_rules import require_value, value_released
from stream_app.kafka.batches import offsets_of, send_records, settled
from stream_app.kafka.claim import start_fencing, transactional_producer
from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.connection import Connection
from stream_app.kafka.ending import Transactions
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.ledger import newest
from stream_app.records import NewRecord

Rows = Mapping[tuple[str, int], Sequence[NewRecord]]


class KafkaValueClaim:
    """A `ValueClaim` whose transactional producer belongs to the value: the newest one wins.

    After an error in a transaction the claim is over: whether it was committed is for the next
    owner to read. `beside` are the partitions that records may go to; `count` and `reached` are as
    in `KafkaClaim`.
    """

    def __init__(
        self,
        loop: EventLoopThread,
        connection: Connection,
        place: LedgerPlace,
        beside: Sequence[tuple[str, int]],
        count: Callable[[str], int],
        reached: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._place = place
        self._beside = beside
        self._count = count
        self._reached = reached
        self._released = False
        self._value = loop.run(self._begin())

    async def _begin(self) -> bytes | None:
        """Fence first, and then read: what the previous owner wrote, or nothing of it."""
        place = self._place
        self._producer = transactional_producer(
            self._connection, f"{place.ledger}-{place.partition}-{place.key}"
        )
        with named_errors(self._connection.url, f"taking over the {place}"):
            ours = (place.ledger, place.partition)
            await start_fencing(self._connection, self._producer, [ours, *self._beside])
            try:
                key = place.key.encode()
                found = await newest(self._connection, place.ledger, place.partition, key)
            except BaseException:
                await self._producer.stop()
                raise
        self._transactions = Transactions(self._connection, self._producer)
        return None if found is None else found.value

    def value(self) -> bytes | None:
        """Return the value as this claim knows it: found when it began, or set by it since."""
        return self._value

    def append(
        self, topic: str, records: Sequence[NewRecord], value: bytes, *, expected: bytes | None
    ) -> list[tuple[int, int]]:
        """Append and set the value in one transaction; returns the records' places.

        Raises `Fenced` when a newer claim has begun or the value is not `expected`, and then no
        `read_committed` reader sees anything of it.
        """
        if self._released:
            raise value_released(self._place)
        require_value(self._place, expected=expected, standing=self._value)
        rows: dict[tuple[str, int], list[NewRecord]] = {}
        places = []
        partitions = partitions_for(topic, records, self._count(topic)) if records else []
        for record, partition in zip(records, partitions, strict=True):
            batch = rows.setdefault((topic, partition), [])
            places.append((partition, len(batch)))
            batch.append(record)
        offsets = self._loop.run(self._transact(rows, value))
        self._value = value
        return [(partition, offsets[topic, partition][index]) for partition, index in places]

    async def _transact(self, rows: Rows, value: bytes) -> dict[tuple[str, int], list[int]]:
        producer, prefix, place = self._producer, self._connection.prefix, self._place
        record = NewRecord(place.key.encode(), value)

        async def send() -> dict[tuple[str, int], list[int]]:
            sent = {
                at: await send_records(producer, prefix + at[0], at[1], batch)
                for at, batch in rows.items()
            }
            self._reached("records sent")
            ledger = prefix + place.ledger
            await settled(producer, await send_records(producer, ledger, place.partition, [record]))
            offsets = {at: await offsets_of(producer, batches) for at, batches in sent.items()}
            self._reached("transaction whole")
            return offsets

        with named_errors(self._connection.url, f"setting the {place}"):
            try:
                offsets = await self._transactions.transact(send)
                self._reached("transaction committed")
            except BaseException:
                self._released = True
                raise
        return offsets

    def release(self) -> None:
        """Give the claim back: what is open is aborted by the next owner or by its time-out."""
        self._released = True
        self._loop.run(self._producer.stop())
