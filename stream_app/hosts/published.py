"""Whether anything was ever put out to a partition of a topic."""

from __future__ import annotations

from collections.abc import Collection

from stream_app.core.log import Log
from stream_app.core.topics import Topics


def published_topic(
    log: Log, pipeline: str, versions: Collection[str], partition: int | None = None
) -> str | None:
    """Return a topic that has outputs of a pipeline's partition, by default of any, or None.

    All of them are looked at: what came first may have been dead letters alone.
    """
    outputs = Topics(pipeline).all(versions)[1:]
    present = log.topics()
    for topic in outputs:
        for number in range(present.get(topic, 0)):
            if partition in (None, number) and has_records(log, topic, number):
                return topic
    return None


def has_records(log: Log, topic: str, partition: int) -> bool:
    """Tell whether committed records are there, or were before retention took them.

    The end alone does not tell: an aborted transaction moves it and leaves nothing to read.
    """
    start, end = log.bounds(topic, partition)
    if start > 0:
        return True
    return end > 0 and bool(log.read(topic, partition, start, records_max=1))
