"""The checkpoint topic: saved state that follows a partition to another machine.

Compacted, a record for each key of the state and one transaction for each checkpoint, written
after the batch it stands for has committed. So the newest value of every key, as far as the last
committed transaction, is a checkpoint as a whole. Its writer is fenced by an id of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from stream_app.core.position import POSITION
from stream_app.errors import StateUntrusted
from stream_app.kafka.batches import send_records, settled
from stream_app.kafka.claim import start_fencing, transactional_producer
from stream_app.kafka.client_errors import named_errors
from stream_app.kafka.committed import high_watermark, reading, rows_between
from stream_app.kafka.connection import Connection
from stream_app.kafka.ending import Transactions
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.ledger import newest
from stream_app.records import Headers

# Below what a broker takes as one record by default.
CHUNK_BYTES = 900_000
NEXT_OFFSET = "next-offset"
KEY_ID = "key-id"
Entries = dict[str, dict[bytes, bytes]]
T = TypeVar("T")
Writes = Mapping[str, Mapping[bytes, bytes | None]]
_POSITION_KEY = b"position\0position\0\0\0\0\0"


class _Row(msgspec.Struct, frozen=True):
    key: bytes
    value: bytes | None
    headers: Headers


class CheckpointTopic:
    """One partition's checkpoints, with the right to write them: another owner fences this one.

    `key_id` names the key that seals the state, so that a machine with another one is told.
    """

    def __init__(
        self,
        loop: EventLoopThread,
        connection: Connection,
        topic: str,
        partition: int,
        key_id: bytes,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._topic = topic
        self._partition = partition
        self._key_id = key_id
        self._doing = f"checkpoints of {topic}/{partition}"
        self._producer = self._run(self._start())
        self._transactions = Transactions(connection, self._producer)
        try:
            self._position = self._run(self._find())
        except BaseException:
            self.close()
            raise

    async def _start(self) -> AIOKafkaProducer:
        producer = transactional_producer(self._connection, f"{self._topic}-{self._partition}")
        await start_fencing(self._connection, producer, [(self._topic, self._partition)])
        return producer

    async def _find(self) -> int | None:
        found = await newest(self._connection, self._topic, self._partition, _POSITION_KEY)
        if found is None or found.value is None:
            return None
        headers = dict(found.headers)
        if headers.get(KEY_ID) != self._key_id:
            raise StateUntrusted(
                f"the {self._doing} were sealed with another key than this machine has.",
                attempt="STREAM_APP_SEAL_KEY_FILE: one file with the same content on every machine "
                "(<state>/keys/seal.key of the first one)",
            )
        return int(headers[NEXT_OFFSET])

    @property
    def position(self) -> int | None:
        """The position of the newest checkpoint in the topic; it never goes back."""
        return self._position

    def entries(self) -> Entries:
        """Return the newest checkpoint: every family's keys and values."""
        return self._run(self._read())

    async def _read(self) -> Entries:
        place = TopicPartition(self._connection.prefix + self._topic, self._partition)
        stop = await high_watermark(self._connection, place)
        rows: dict[bytes, ConsumerRecord] = {}
        async with reading(self._connection, [place]) as consumer:
            start = (await consumer.beginning_offsets([place]))[place]
            async for row in rows_between(consumer, place, start, stop):
                rows[row.key] = row
        return _assembled(rows, self._doing)

    def write(self, writes: Writes, next_offset: int) -> None:
        """Write what changed since the last checkpoint, as one transaction."""
        if self._position is not None and next_offset < self._position:
            raise StateUntrusted(
                f"the {self._doing} are at {self._position} and cannot go back to {next_offset}.",
                attempt="end this process and start it again",
            )
        self._run(self._transact(writes, next_offset))
        self._position = next_offset

    def void(self) -> None:
        """Say that there is no checkpoint any more; the next one has to be a whole one."""
        self._run(self._transact({POSITION: {b"position": None}}, 0))
        self._position = None

    async def _transact(self, writes: Writes, next_offset: int) -> None:
        producer = self._producer
        headers = ((NEXT_OFFSET, b"%d" % next_offset), (KEY_ID, self._key_id))
        records = list(_records(writes, headers))
        name = self._connection.prefix + self._topic

        async def send() -> None:
            await settled(producer, await send_records(producer, name, self._partition, records))

        await self._transactions.transact(send)

    def close(self) -> None:
        """Give the right to write back."""
        self._run(self._producer.stop())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with named_errors(self._connection.url, self._doing):
            return self._loop.run(coroutine)


def _records(writes: Writes, headers: Headers) -> Iterator[_Row]:
    """Yield records for all keys, large values in chunks, the position last."""
    for family in sorted(writes, key=lambda name: name == POSITION):
        for key, value in writes[family].items():
            yield from _chunks(family.encode() + b"\0" + key, value, headers)


def _chunks(name: bytes, value: bytes | None, headers: Headers) -> Iterator[_Row]:
    if value is None:
        yield _Row(_chunk_key(name, 0), None, headers)  # a tombstone
        return
    count = max(1, -(-len(value) // CHUNK_BYTES))
    digest = hashlib.sha256(value).digest()
    for number in range(count):
        chunk = value[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
        marks = (*headers, ("chunks", b"%d" % count), ("sha256", digest))
        yield _Row(_chunk_key(name, number), chunk, marks)


def _chunk_key(name: bytes, number: int) -> bytes:
    return name + b"\0" + number.to_bytes(4, "big")


def _assembled(rows: Mapping[bytes, ConsumerRecord], doing: str) -> Entries:
    """Put the chunks of each value together again; raises `StateUntrusted` when one is missing."""
    entries: Entries = {}
    for row_key, row in rows.items():
        if row.value is None or row_key[-4:] != b"\0\0\0\0":
            continue
        name, headers = row_key[:-5], dict(row.headers)
        chunks = [rows.get(_chunk_key(name, n)) for n in range(int(headers["chunks"]))]
        value = b"".join(chunk.value or b"" for chunk in chunks if chunk is not None)
        if hashlib.sha256(value).digest() != headers["sha256"]:
            raise StateUntrusted(
                f"a value in the {doing} is not whole.",
                attempt="delete the records of that partition of the topic: the state is built "
                "again from the log",
            )
        family, _, key = name.partition(b"\0")
        entries.setdefault(family.decode(), {})[key] = value
    return entries
