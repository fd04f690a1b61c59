"""Retention on the embedded log: old outputs are deleted, and nothing else is.

State is made of events, and of the files that versions begin from.
"""

from __future__ import annotations

import time
from datetime import timedelta

import msgspec

from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.storage.sqlite_log import SqliteLog


class Retained(msgspec.Struct, frozen=True):
    """How many records of a topic were deleted now, and how many are left in it."""

    topic: str
    deleted: int
    kept: int


def delete_outputs(log: Log, pipeline: str, older_than: timedelta) -> list[Retained]:
    """Delete a pipeline's outputs that were appended longer ago, also while it runs.

    Their space in the file is used again. Raises `UsageError` for a log whose broker does that.
    """
    if not isinstance(log, SqliteLog):
        raise UsageError(
            f"{log.url} deletes by its topics' own settings",
            attempt=f"kafka-configs.sh --alter --entity-type topics --entity-name "
            f"{Topics(pipeline).predictions} --add-config retention.ms=...",
        )
    before_ms = time.time_ns() // 1_000_000 - older_than // timedelta(milliseconds=1)
    rows, present = [], log.topics()
    for topic in sorted(Topics(pipeline).outputs(present)):
        deleted = log.retain_since(topic, before_ms)
        bounds = [log.bounds(topic, partition) for partition in range(present[topic])]
        rows.append(Retained(topic, deleted, sum(end - start for start, end in bounds)))
    return rows
