"""Quix Streams and River: exactly or at least once, the model in the process or in its store.

Exactly once commits every 100 ms, which is some 1,500 events at full speed and what bounds its
latency; at least once every 5 s as Quix has it, since its predictions do not wait for that. A
transactional id of its own lets a restarted worker end the transaction of the one before; Quix
takes a random one. In the store, the model is pickled for every event: what a checkpoint holds
is what the events until then have made of it, which no other place for the model gives. The package
is in an environment of its own, see `benchmarks/kafka.py`.
"""

from __future__ import annotations

import pickle
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found]  # see the docstring

from peers.contract import Clock, arguments
from peers.work import Learner


def main() -> None:
    asked = arguments(guarantee=["exactly-once", "at-least-once"], model=["process", "store"])
    exactly_once = asked.guarantee == "exactly-once"
    clock = Clock()
    app = Application(
        broker_address=asked.broker,
        consumer_group=asked.group,
        auto_offset_reset="earliest",
        processing_guarantee=asked.guarantee,
        commit_interval=0.1 if exactly_once else 5.0,
        state_dir=asked.state,
        loglevel="ERROR",
        consumer_extra_config={"group.instance.id": asked.name, "session.timeout.ms": 10_000},
        producer_extra_config={"transactional.id": asked.name} if exactly_once else {},
    )
    events = app.topic(asked.events_topic, key_deserializer="bytes", value_deserializer="json")
    predictions = app.topic(
        asked.predictions_topic, key_serializer="bytes", value_serializer="json"
    )
    learner = Learner()

    def in_process(event: dict[str, Any]) -> dict[str, Any]:
        clock.begin()
        return learner.answer(event)

    def in_store(event: dict[str, Any], state: Any) -> dict[str, Any]:
        clock.begin()
        saved = state.get_bytes("learner")
        known = Learner() if saved is None else pickle.loads(saved)
        answer = known.answer(event)
        state.set_bytes("learner", pickle.dumps(known, pickle.HIGHEST_PROTOCOL))
        return answer

    frame = app.dataframe(events)
    if asked.model == "store":
        frame = frame.apply(in_store, stateful=True)
    else:
        frame = frame.apply(in_process)
    frame.to_topic(predictions)
    # The last commit ends the measure; what `run` does after it is to leave the group.
    context = app._processing_context
    commit = context.commit_checkpoint

    def commit_and_tell(force: bool = False, revoking: bool = False) -> None:
        commit(force=force, revoking=revoking)
        if force and not revoking and asked.events:
            clock.end()

    context.commit_checkpoint = commit_and_tell
    app.run(count=asked.events, collect=False)


if __name__ == "__main__":
    main()
