"""Positions of a pipeline's events and partitions, as people write them."""

from __future__ import annotations

from stream_app.core.commit import Manifest
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.records import ShortPosition, parse_short_position


def require_meant(where: str, partition: object, partitions: int) -> None:
    """Raise `UsageError` for a partition that somebody means, and a topic or pipeline has not.

    What a log refuses of its own accord is `codec.partitioning.require_partition`.
    """
    if partition in range(partitions):
        return
    others = f"a partition from 0 to {partitions - 1}"
    raise UsageError(
        f"{where} has no partition {partition!r}",
        attempt="partition 0, the only one" if partitions == 1 else others,
    )


def event_position(text: str, manifest: Manifest) -> ShortPosition | None:
    """Return the position that `text` is; None when it is none.

    Raises `UsageError` for a position in another topic. Whether there is such a partition is for
    the caller to ask, by `require_meant`.
    """
    position, events = parse_short_position(text), Topics(manifest.pipeline).events
    if position is not None and position.topic not in (None, events):
        raise UsageError(
            f"{text} is no position of {events}",
            attempt=f"{position.partition}@{position.offset}, if that was meant",
        )
    return position
