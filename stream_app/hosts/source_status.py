"""Where intake stands, for people: each source partition's position and lag."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.log import Log, Sources
from stream_app.core.source_position import (
    SourcePosition,
    decode_position,
    ledger_place,
    place_name,
)
from stream_app.errors import StreamAppError
from stream_app.hosts.source_list import known_sources


class SourceStatus(msgspec.Struct, frozen=True):
    """A source partition that intake has begun with.

    `copied`, `refused` and `skipped` count since its beginning. `next_offset` is None where the
    position was lost, `lag` where the source cannot be read; `problem` says what is wrong.
    """

    source: str
    next_offset: int | None
    lag: int | None
    copied: int = 0
    refused: int = 0
    skipped: int = 0
    problem: str | None = None


def source_statuses(log: Log, manifest: Manifest) -> list[SourceStatus]:
    """Return every source partition of a pipeline, running or not; none without intake.

    What is wrong with one is its `problem`, and hides no other.
    """
    ids = cache(log.sources().topic_id)  # a question to the broker each
    return [
        _status(log, manifest, topic, partition, ids)
        for topic, partition in known_sources(log, manifest.pipeline)
    ]


def _status(
    log: Log, manifest: Manifest, topic: str, partition: int, ids: Callable[[str], str]
) -> SourceStatus:
    name = place_name(topic, partition)
    place = ledger_place(manifest.pipeline, topic, partition, manifest.partitions)
    try:
        found = log.ledger_get(place.ledger, place.partition, place.key)
        if found is None:
            gone = f"its position is gone from {place.ledger}"
            return SourceStatus(name, None, None, problem=gone)
        position = decode_position(found, name)
    except StreamAppError as error:
        return SourceStatus(name, None, None, problem=error.problem)
    try:
        lag, problem = _lag(log.sources(), topic, partition, position, ids)
    except StreamAppError as error:
        lag, problem = None, error.problem
    return SourceStatus(
        name,
        position.next_offset,
        lag,
        position.copied,
        position.refused,
        position.skipped,
        problem,
    )


def _lag(
    sources: Sources,
    topic: str,
    partition: int,
    position: SourcePosition,
    ids: Callable[[str], str],
) -> tuple[int | None, str | None]:
    """Return (how many offsets are still to be copied, what is wrong)."""
    next_offset, known = position.next_offset, position.topic_id
    start, end = sources.bounds(topic, partition)
    if known and (found := ids(topic)) != known:
        return None, f"its id is {found}, and was {known}: it was deleted and made anew"
    if end < next_offset:
        return None, f"it ends at {end}: it was deleted and made anew, or has lost records"
    if start > next_offset:
        return end - start, f"it lost the records from {next_offset} to {start} before intake"
    # Behind the last record a log may end with markers of its own, which nobody ever reads.
    if end == next_offset or not sources.read(topic, partition, next_offset, records_max=1):
        return 0, None
    return end - next_offset, None
