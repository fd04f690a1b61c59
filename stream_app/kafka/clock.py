"""Whether brokers and this machine agree about the time, told without writing anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.core.upkeep import Finding
from stream_app.kafka.connection import Connection

# How long to watch for a record that arrives just now.
WATCH_S = 0.5
# Event times are held against the time of append, which the broker's clock gives.
SKEW_MAX_MS = 2_000
_LOG_APPEND_TIME = 1


async def clock_findings(
    connection: Connection, topic: str, partitions: int, clock_ms: Callable[[], int]
) -> list[Finding]:
    """Hold times of append against this machine's clock.

    A record that arrives while we watch was appended in between, so its time tells a skew both
    ways. Without one, the newest records only tell of a broker whose clock is ahead.
    """
    places = [TopicPartition(connection.prefix + topic, each) for each in range(partitions)]
    async with AIOKafkaConsumer(
        **connection.client_options(),
        auto_offset_reset="none",
        group_id=None,
        # Closing waits for the fetch at hand.
        fetch_max_wait_ms=50,
    ) as consumer:
        began_ms = clock_ms()
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        for place in places:
            consumer.seek(place, ends[place])
        arrived = await _next(consumer, WATCH_S)
        if arrived is not None:
            return _skew(connection, arrived, began_ms, clock_ms())
        newest = await _newest(consumer, places, ends)
    return [] if newest is None else _skew(connection, newest, 0, clock_ms())


async def _next(consumer: AIOKafkaConsumer, timeout_s: float) -> ConsumerRecord | None:
    """Return a record that the broker has stamped, or None when none comes."""
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        for rows in (await consumer.getmany(timeout_ms=int(left_s * 1000), max_records=1)).values():
            for row in rows:
                if row.timestamp_type == _LOG_APPEND_TIME:
                    return row
    return None


async def _newest(
    consumer: AIOKafkaConsumer,
    places: Sequence[TopicPartition],
    ends: Mapping[TopicPartition, int],
) -> ConsumerRecord | None:
    """Return the latest of the last records; the very last offsets may be markers."""
    starts = await consumer.beginning_offsets(places)
    found = None
    for place in places:
        if ends[place] <= starts[place]:
            continue
        consumer.assign([place])
        consumer.seek(place, max(starts[place], ends[place] - 3))
        row = await _next(consumer, WATCH_S)
        if row is not None and (found is None or row.timestamp > found.timestamp):
            found = row
    return found


def _skew(
    connection: Connection, row: ConsumerRecord, from_ms: int, until_ms: int
) -> list[Finding]:
    ahead_ms, behind_ms = row.timestamp - until_ms, from_ms - row.timestamp
    if max(ahead_ms, behind_ms) <= SKEW_MAX_MS:
        return []
    direction = "ahead of" if ahead_ms > 0 else "behind"
    seconds = max(ahead_ms, behind_ms) / 1000
    where = f"{row.topic.removeprefix(connection.prefix)}/{row.partition}@{row.offset}"
    return [
        Finding(
            "problem",
            "clock",
            where,
            f"the broker's clock is at least {seconds:.1f} s {direction} this machine's, and times "
            "of append are its own: event times are judged by them",
            "compare `date -u` on both, and let chronyd or ntpd set the wrong one",
        )
    ]
