"""Reads of a pipeline's events by whoever folds them: in order, and none left out unnoticed."""

from __future__ import annotations

from stream_app.core.log import Log
from stream_app.core.recovery import require_unbroken
from stream_app.core.topics import Topics
from stream_app.records import Record


def read_events(
    log: Log,
    pipeline: str,
    partition: int,
    offset: int,
    *,
    records_max: int,
    until: int | None,
    backfill: str | None = None,
) -> list[Record]:
    """Return events from `offset` on, below `until` if that is given.

    Raises `LogUntrusted` where retention was quicker than the reader, which may be the `backfill`
    of a version.
    """
    if until is not None:
        if offset >= until:
            return []
        records_max = min(records_max, until - offset)
    topic = Topics(pipeline).events
    records = log.read(topic, partition, offset, records_max=records_max)
    if records[0].offset > offset if records else until is not None:
        # A hole as Kafka's logs have, or records that are gone, of `until` maybe all.
        start = log.bounds(topic, partition)[0]
        require_unbroken(f"{pipeline}/{partition}", start, offset, backfill)
    if until is not None:
        # Where offsets have holes, a number of records does not say how far.
        records = [record for record in records if record.offset < until]
    return records
