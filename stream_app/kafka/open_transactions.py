"""Partitions on which a transaction stays open, so that readers of committed records wait there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiokafka import TopicPartition

from stream_app.core.upkeep import Finding
from stream_app.kafka.connection import Connection
from stream_app.kafka.ending import still_open, unmoved
from stream_app.records import format_position

# Ours take milliseconds, and those of other producers seldom longer.
WATCH_S = 1.0


async def open_findings(
    connection: Connection, places: Collection[TopicPartition]
) -> list[Finding]:
    """Return a problem for each place where the same transaction is open for `WATCH_S`."""
    held = await still_open(connection, places)
    if not held:
        return []
    await asyncio.sleep(WATCH_S)
    server = connection.servers[0]
    rows = []
    for place, offset in sorted((await unmoved(connection, held)).items()):
        topic = place.topic.removeprefix(connection.prefix)
        what = (
            f"a transaction that began here has been open for {WATCH_S:.0f} s or longer: readers "
            "of committed records, the pipeline too, wait before it"
        )
        attempt = (
            "wait if its producer is at work; `run` and `intake` end their own at their next start;"
            f" else kafka-transactions.sh --bootstrap-server {server} find-hanging, and abort"
        )
        where = format_position(topic, place.partition, offset)
        rows.append(Finding("problem", "transaction", where, what, attempt))
    return rows
