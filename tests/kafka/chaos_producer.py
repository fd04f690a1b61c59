"""A process that produces weather at a steady rate, in spite of whatever becomes of the broker.

Beside it go transactions: some are committed, some aborted, some left open until they time out.
What is in those that are not committed is named `ghost`, and nobody may ever read it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from stream_app.codec.partitioning import partitions_for
from stream_app.core.topics import Topics
from stream_app.errors import LogUnavailable
from stream_app.kafka.claim import start_fencing
from stream_app.kafka.connection import Connection, connection
from stream_app.kafka.ending import end_hanging
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.log import KafkaLog
from stream_app.records import NewRecord
from tests.kafka.chaos_pipeline import PARTITIONS, tempest
from tests.recovery.storms import records

TOPIC = Topics(tempest.name).events
CHUNKS_PER_S = 20
HURRY_CHUNK = 500
GHOSTS_MAX = 12
OPEN_MS = 5_000
AGAIN_S = 0.5
GHOST = b"ghost"
COMMITTED, ABORTED = "committed", "aborted"
# A transaction takes milliseconds.
SLOW_S = 0.5
SETTLES_WITHIN_S = 60.0


class Production(msgspec.Struct, frozen=True):
    """So many records, so fast, to that broker."""

    broker: str
    events: int
    rate: float
    seed: int


class Produced(msgspec.Struct):
    """What became of it; `again` counts chunks that were sent more than once."""

    records: int = 0
    again: int = 0
    committed: int = 0
    aborted: int = 0
    abandoned: int = 0


def rows_of(production: Production) -> list[NewRecord]:
    """Return the records that are sent, each at least once."""
    # An observation has about one label.
    rows = records(production.events // 2 + 1, seed=production.seed, keyed=True)
    rows = rows[: production.events]
    return [r if r.key is not None else NewRecord(b"nobody", r.value, r.headers) for r in rows]


class Transactions:
    """Transactions of one fate, under one transactional id while none of them is abandoned.

    Each fate has an id of its own. What a coordinator has left open on some partition ends as the
    id's next transaction does (see `stream_app.kafka.ending`): among commits, an aborted one would
    be committed by the broker itself.
    """

    def __init__(self, to: Connection, fate: str) -> None:
        self._to = to
        self._fate = fate
        self._loop = EventLoopThread(f"transactions {fate}")
        self._places = [(TOPIC, partition) for partition in range(PARTITIONS)]
        self._producer: AIOKafkaProducer | None = None
        self._abandoned = 0

    def send(self, rows: Sequence[NewRecord], *, abandon: bool = False) -> bool:
        """Send records in a transaction and end it; False when that failed or may have.

        With `abandon` it stays open until its time-out.
        """
        return self._loop.run(self._attempt(rows, abandon=abandon))

    def settle(self) -> None:
        """End what may hang, as the next owner of the id would."""
        self._loop.run(self._settle())

    async def _attempt(self, rows: Sequence[NewRecord], *, abandon: bool) -> bool:
        began = time.monotonic()
        try:
            await self._transact(rows, abandon=abandon)
        except (KafkaError, OSError, TimeoutError):
            await self._drop()
            return False
        if time.monotonic() - began > SLOW_S:
            await self._drop()  # it met a broker that went away: the next start ends what hangs
        return True

    async def _transact(self, rows: Sequence[NewRecord], *, abandon: bool) -> None:
        producer = self._producer or await self._started()
        await producer.begin_transaction()
        futures = [
            await producer.send(TOPIC, row.value, row.key, partition, headers=row.headers)
            for row, partition in zip(rows, partitions_for(TOPIC, rows, PARTITIONS), strict=True)
        ]
        await producer.flush()
        for future in futures:
            await future
        if abandon:
            self._abandoned += 1
            await self._drop()
        elif self._fate == COMMITTED:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()

    async def _started(self) -> AIOKafkaProducer:
        self._producer = AIOKafkaProducer(
            **self._to.client_options(),
            transactional_id=f"chaos-{self._fate}-{self._abandoned}",
            transaction_timeout_ms=OPEN_MS,
            request_timeout_ms=10_000,
            retry_backoff_ms=5,
        )
        if self._fate == COMMITTED:
            await start_fencing(self._to, self._producer, self._places)
        else:
            await self._producer.start()
            named = [TopicPartition(*place) for place in self._places]
            await end_hanging(self._to, self._producer, named, committed=False)
        return self._producer

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLES_WITHIN_S
        while True:
            await self._drop()
            try:
                await self._started()
            except (KafkaError, OSError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _drop(self) -> None:
        """Forget the producer with what it has open."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.client.close()
            sending = producer._sender.sender_task
            if sending is not None:  # its start failed
                sending.cancel()
            producer._closed = True


class Producer:
    """Sends every record at least once; `hurry` ends the pauses."""

    def __init__(self, production: Production) -> None:
        self._production = production
        self._random = random.Random(production.seed + 2)
        self._to = connection(production.broker)
        self._log: KafkaLog | None = None
        self.produced = Produced()
        self._committing = Transactions(self._to, COMMITTED)
        self._aborting = Transactions(self._to, ABORTED)
        self.hurry = threading.Event()

    def run(self) -> None:
        rows = rows_of(self._production)
        paced = max(1, round(self._production.rate / CHUNKS_PER_S))
        begin, due = 0, time.monotonic()
        while begin < len(rows):
            chunk = rows[begin : begin + (HURRY_CHUNK if self.hurry.is_set() else paced)]
            self._send(chunk)
            begin += len(chunk)
            self.produced.records = begin
            # What a stop of the broker has held up comes as a burst.
            due = max(due + len(chunk) / self._production.rate, time.monotonic() - 10)
            self.hurry.wait(max(0.0, due - time.monotonic()))
        for transactions in (self._committing, self._aborting):
            transactions.settle()

    def _send(self, chunk: Sequence[NewRecord]) -> None:
        fate = self._random.random()
        if fate < 0.03:
            self._send_ghosts(chunk, abandon=fate < 0.001)
        if 0.03 <= fate < 0.08 and self._committing.send(chunk):
            self.produced.committed += 1
            return
        while not self._appended(chunk):
            self.produced.again += 1
            time.sleep(AGAIN_S)

    def _send_ghosts(self, chunk: Sequence[NewRecord], *, abandon: bool) -> None:
        rows = [NewRecord(r.key, r.value.replace(b'"id":"', b'"id":"' + GHOST)) for r in chunk]
        if self._aborting.send(rows[:GHOSTS_MAX], abandon=abandon):
            self.produced.aborted += not abandon
            self.produced.abandoned += abandon

    def _appended(self, chunk: Sequence[NewRecord]) -> bool:
        try:
            if self._log is None:
                self._log = KafkaLog(self._to)
            self._log.append(TOPIC, chunk)
        except LogUnavailable:
            log, self._log = self._log, None
            if log is not None:
                # Its farewell may wait for a broker that is away.
                threading.Thread(target=log.close, daemon=True).start()
            return False
        return True


def main() -> None:
    """Produce; the first line of input is the plan, the second one says to hurry."""
    producer = Producer(msgspec.json.decode(sys.stdin.readline(), type=Production))

    def listen() -> None:
        sys.stdin.readline()
        producer.hurry.set()

    threading.Thread(target=listen, daemon=True).start()
    producer.run()
    print(msgspec.json.encode(producer.produced).decode(), flush=True)


if __name__ == "__main__":
    main()
