"""A process that produces weather at a steady rate, in spite of whatever becomes of the broker.

Beside it go transactions: some are committed, some aborted, some left open until they time out.
What is in those that are not committed is named `ghost`, and nobody may ever read it.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream_app.codec.partitioning import partitions_for
from stream_app.core.topics import Topics
from stream_app.errors import LogUnavailable
from stream_app.kafka.connection import Connection, connection
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
    """Transactions of a few records, under one transactional id after the other."""

    def __init__(self, to: Connection, produced: Produced) -> None:
        self._to = to
        self._produced = produced
        self._loop = EventLoopThread("transactions")
        self._producer: AIOKafkaProducer | None = None
        self._begun = 0

    def commit(self, rows: Sequence[NewRecord]) -> bool:
        """Send records in a transaction and commit it; False when that failed or may have."""
        return self._loop.run(self._attempt(rows, "committed"))

    def ghosts(self, rows: Sequence[NewRecord], *, abandon: bool) -> None:
        """Send records and abort, or fall silent."""
        rows = [NewRecord(r.key, r.value.replace(b'"id":"', b'"id":"' + GHOST)) for r in rows]
        self._loop.run(self._attempt(rows[:GHOSTS_MAX], "abandoned" if abandon else "aborted"))

    async def _attempt(self, rows: Sequence[NewRecord], fate: str) -> bool:
        try:
            await self._transact(rows, fate)
        except (KafkaError, OSError, TimeoutError):
            await self._drop()
            return False
        setattr(self._produced, fate, getattr(self._produced, fate) + 1)
        return True

    async def _transact(self, rows: Sequence[NewRecord], fate: str) -> None:
        if self._producer is None:
            self._begun += 1
            self._producer = AIOKafkaProducer(
                **self._to.client_options(),
                transactional_id=f"chaos-{self._begun}",
                transaction_timeout_ms=OPEN_MS,
                request_timeout_ms=10_000,
                retry_backoff_ms=5,
            )
            await self._producer.start()
        await self._producer.begin_transaction()
        futures = [
            await self._producer.send(TOPIC, row.value, row.key, partition, headers=row.headers)
            for row, partition in zip(rows, partitions_for(TOPIC, rows, PARTITIONS), strict=True)
        ]
        await self._producer.flush()
        for future in futures:
            await future
        if fate == "committed":
            await self._producer.commit_transaction()
        elif fate == "aborted":
            await self._producer.abort_transaction()
        else:
            await self._drop()

    async def _drop(self) -> None:
        """Forget the producer with what it has open."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.client.close()
            producer._sender._sender_task.cancel()
            producer._closed = True


class Producer:
    """Sends every record at least once; `hurry` ends the pauses."""

    def __init__(self, production: Production) -> None:
        self._production = production
        self._random = random.Random(production.seed + 2)
        self._to = connection(production.broker)
        self._log: KafkaLog | None = None
        self.produced = Produced()
        self._transactions = Transactions(self._to, self.produced)
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

    def _send(self, chunk: Sequence[NewRecord]) -> None:
        fate = self._random.random()
        if fate < 0.03:
            self._transactions.ghosts(chunk, abandon=fate < 0.001)
        if 0.03 <= fate < 0.08 and self._transactions.commit(chunk):
            return
        while not self._appended(chunk):
            self.produced.again += 1
            time.sleep(AGAIN_S)

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
