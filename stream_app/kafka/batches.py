"""Records on their way to a broker, whole batches at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, ProducerClosed

from stream_app.records import Headers

# A broker's usual bound for one batch (`message.max.bytes`) is 1,048,588; its frame needs some.
BATCH_BYTES_MAX = 1_000_000
SETTLE_S = 1.0
T = TypeVar("T")


class Row(Protocol):
    """What a broker takes: a NewRecord, an Output, or a tombstone (no value)."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its bytes."""

    @property
    def headers(self) -> Headers:
        """Its headers."""


class Sent(NamedTuple):
    """A batch on its way; the future gives the broker's answer, or raises what went wrong."""

    answer: asyncio.Future[Any]
    records: int
    topic: str


async def send_records(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Row]
) -> list[Sent]:
    """Hand records over in order, in batches as large as a broker takes them.

    The time is ours only where a topic does not stamp its own (`LogAppendTime`).
    """
    now_ms = time.time_ns() // 1_000_000
    batch = producer.create_batch()
    sent = []

    async def send() -> None:
        count = batch.record_count()
        sent.append(
            Sent(await producer.send_batch(batch, topic, partition=partition), count, topic)
        )

    for record in records:
        if not _added(batch, now_ms, record):
            await send()
            batch = producer.create_batch()
            _added(batch, now_ms, record)
    if batch.record_count():
        await send()
    return sent


def _added(batch: Any, now_ms: int, record: Row) -> bool:
    headers = list(record.headers)
    key, value = record.key, record.value
    return batch.append(timestamp=now_ms, key=key, value=value, headers=headers) is not None


async def settled(producer: AIOKafkaProducer, sent: Sequence[Sent]) -> None:
    """Wait for all batches; raises what went wrong with the first that failed."""

    async def answers() -> list[Any]:
        return await asyncio.gather(*(batch.answer for batch in sent), return_exceptions=True)

    for batch, answer in zip(sent, await while_it_sends(producer, answers()), strict=True):
        if isinstance(answer, MessageSizeTooLargeError):
            raise MessageSizeTooLargeError(batch.topic) from answer
        if isinstance(answer, BaseException):
            raise answer


async def while_it_sends(producer: AIOKafkaProducer, waiting: Coroutine[Any, Any, T]) -> T:
    """Wait for something of a producer; raises what ended its sender, if that comes first.

    A client whose sender has died, as when it was fenced, forgets some of what waits for it.
    """
    task = asyncio.ensure_future(waiting)
    sender = producer._sender.sender_task
    await asyncio.wait({task, sender}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        await asyncio.wait({task}, timeout=SETTLE_S)  # what the sender's end settles by itself
    if not task.done():
        task.cancel()
        sender.result()
        raise ProducerClosed
    return task.result()


async def offsets_of(producer: AIOKafkaProducer, sent: Sequence[Sent]) -> list[int]:
    """Wait for batches of one partition; returns the offset of each of their records."""
    await settled(producer, sent)
    offsets: list[int] = []
    for batch in sent:
        first = (await batch.answer).offset
        offsets += range(first, first + batch.records)
    return offsets
