"""Looks for outputs of versions that have left, from behind all that anybody folded of them."""

from __future__ import annotations

from stream_app.core.commit import Commit
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.hosts.first_where import first_where
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import committed
from stream_app.hosts.published_rows import Difference, source_offset, uncaused
from stream_app.records import Record


def after_they_left(log: Log, topics: Topics, partition: int, commit: Commit) -> Difference | None:
    """Return the first row in a shadow topic that claims a cause behind all that was folded there.

    That is where the version left, or where its backfill stands since. A version that has joined
    again meanwhile is not looked at.
    """
    for version, left in sorted(commit.left.items()):
        row = _first_beyond(log, topics.shadow(version), partition, left)
        while row is not None:
            # Asked after the row was read: whoever has written it has committed that.
            now = committed(log, topics.pipeline, partition)
            if now is None or now.left.get(version) != left:
                break
            standing = built(log, topics.pipeline, version, partition)
            folded = left if standing is None else max(left, standing.next_offset)
            if (source_offset(row) or 0) >= folded:
                return uncaused(row)
            row = _first_beyond(log, topics.shadow(version), partition, folded)
    return None


def _first_beyond(log: Log, topic: str, partition: int, offset: int) -> Record | None:
    """Return the first row that claims to be caused by the event at an offset, or a later one."""
    if topic not in log.topics():
        return None
    at = first_where(log, topic, partition, lambda row: (source_offset(row) or 0) >= offset)
    rows = log.read(topic, partition, at, records_max=1)
    return rows[0] if rows else None
