"""The first record of a partition that has reached something which all later ones have: halving."""

from __future__ import annotations

from collections.abc import Callable

from stream_app.core.log import Log
from stream_app.records import Record


def first_where(log: Log, topic: str, partition: int, reached: Callable[[Record], bool]) -> int:
    """Return the first offset whose record has `reached` what later ones all have; else the end.

    A bisection: about log2 of the offsets in reads of one record.
    """
    low, high = log.bounds(topic, partition)
    first = high
    while low < high:
        middle = (low + high) // 2
        # Where offsets have holes the record is a later one than was asked for.
        found = log.read(topic, partition, middle, records_max=1)
        if found and not reached(found[0]):
            low = found[0].offset + 1
        else:
            high = middle
            first = found[0].offset if found else first
    return first
