"""Events sent at a steady rate, and when each of their predictions could be read as committed."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import foundation
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from peers.work import examples

from on_kafka.ground import EVENTS, PREDICTIONS
from stream_app.codec.encode import encode_event
from stream_app.codec.partitioning import partition_of
from stream_app.events import Observation
from stream_app.kafka.connection import Connection

TICK_S = 0.001
EXAMPLES = 1000


class Traffic:
    """Sends events to all partitions in turn and watches their predictions, until it is left.

    `sent` and `seen` are times by the id of an event; `arrivals` are the times of a partition's
    predictions. All on the clock of `time.perf_counter`.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        prefix: str,
        partitions: int,
    ) -> None:
        self.sent: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self.arrivals: dict[int, list[float]] = {number: [] for number in range(partitions)}
        self._producer = producer
        self._consumer = consumer
        self._prefix = prefix
        self._keys = _keys(partitions)
        self._examples = examples(EXAMPLES)

    async def send(self, rate: float, seconds: float) -> list[str]:
        """Send at a rate for a while; returns the ids. Behind its time it sends what is due."""
        began = time.perf_counter()
        names: list[str] = []
        while (now := time.perf_counter() - began) < seconds:
            for _ in range(int(now * rate) - len(names)):
                names.append(await self._send_one())
            await asyncio.sleep(TICK_S)
        return names

    async def _send_one(self) -> str:
        number = len(self.sent)
        name = f"id-{number}"
        x, y = self._examples[number % EXAMPLES]
        key = self._keys[number % len(self._keys)]
        event = encode_event(Observation(name, foundation.T0 + number, x, key=key, label=y))
        self.sent[name] = time.perf_counter()
        await self._producer.send(self._prefix + EVENTS, event.value, key=key.encode())
        return name

    async def watch(self) -> None:
        """Take note of predictions, for ever."""
        while True:
            for place, rows in (await self._consumer.getmany(timeout_ms=1000)).items():
                now = time.perf_counter()
                for row in rows:
                    # At least once may say it again: what counts is the first time.
                    self.seen.setdefault(json.loads(row.value)["observation_id"], now)
                    self.arrivals[place.partition].append(now)

    async def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until something is so; False when it has not come in time."""
        deadline = time.perf_counter() + seconds
        while not condition():
            if time.perf_counter() > deadline:
                return False
            await asyncio.sleep(TICK_S)
        return True


def _keys(partitions: int) -> list[str]:
    """Return a key for each partition."""
    names = (f"k{number}" for number in itertools.count())
    found: dict[int, str] = {}
    while len(found) < partitions:
        key = next(names)
        found.setdefault(partition_of(key.encode(), partitions), key)
    return [found[number] for number in range(partitions)]


@asynccontextmanager
async def traffic(connection: Connection, partitions: int = 1) -> AsyncIterator[Traffic]:
    """Connect, and watch what comes from now on."""
    options = connection.client_options()
    async with (
        AIOKafkaConsumer(
            **options, isolation_level="read_committed", group_id=None, fetch_max_wait_ms=10
        ) as consumer,
        AIOKafkaProducer(**options) as producer,
    ):
        places = [TopicPartition(connection.prefix + PREDICTIONS, n) for n in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        moving = Traffic(producer, consumer, connection.prefix, partitions)
        watching = asyncio.create_task(moving.watch())
        try:
            yield moving
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
