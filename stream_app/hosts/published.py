"""Whether anything was ever put out to a partition of a topic."""

from __future__ import annotations

from stream_app.core.log import Log


def has_records(log: Log, topic: str, partition: int) -> bool:
    """Tell whether committed records are there, or were before retention took them.

    The end alone does not tell: an aborted transaction moves it and leaves nothing to read.
    """
    start, end = log.bounds(topic, partition)
    if start > 0:
        return True
    return end > 0 and bool(log.read(topic, partition, start, records_max=1))
