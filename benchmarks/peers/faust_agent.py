"""A stock Faust agent (faust-streaming): at least once by default, the model in the process.

Left as Faust has it: JSON topics, `topic.send` for every event, offsets committed every 2.8 s,
aiokafka's batching without linger. The model is lost at a restart, which no setting changes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import faust

from peers.contract import Clock, arguments
from peers.work import Learner

logging.disable(logging.WARNING)


async def run() -> None:
    asked = arguments()
    learner, clock = Learner(), Clock()
    app = faust.App(
        asked.group,
        broker=f"kafka://{asked.broker}",
        datadir=asked.state,
        consumer_group_instance_id=asked.name,
        broker_session_timeout=10.0,  # as all workers here
        topic_disable_leader=True,  # a topic that only elects a leader for timers
        web_enabled=False,
    )
    events = app.topic(asked.events_topic, key_type=bytes, value_serializer="json")
    predictions = app.topic(asked.predictions_topic, key_type=bytes, value_serializer="json")

    @app.agent(events)
    async def learn(stream: Any) -> None:
        seen = 0
        async for event in stream.events():
            clock.begin()
            await predictions.send(key=event.key, value=learner.answer(event.value))
            seen += 1
            if seen == asked.events:
                await app.producer.flush()
                clock.end()

    await app.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run())
