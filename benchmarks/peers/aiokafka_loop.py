"""What people write first: consume, predict, learn, send; no group, no guarantee at all."""

from __future__ import annotations

import asyncio
import json

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from peers.contract import Clock, arguments
from peers.work import Learner


async def run() -> None:
    asked = arguments()
    learner, clock = Learner(), Clock()
    seen = 0
    async with (
        AIOKafkaConsumer(
            asked.events_topic, bootstrap_servers=asked.broker, auto_offset_reset="earliest"
        ) as consumer,
        AIOKafkaProducer(bootstrap_servers=asked.broker) as producer,
    ):
        while not asked.events or seen < asked.events:
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                clock.begin()
                for record in batch:
                    answer = json.dumps(learner.answer(json.loads(record.value))).encode()
                    await producer.send(asked.predictions_topic, answer, key=record.key)
                    seen += 1
        await producer.flush()
        clock.end()


if __name__ == "__main__":
    asyncio.run(run())
