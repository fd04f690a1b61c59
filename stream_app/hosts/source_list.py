"""Which partitions of sources a pipeline has ever copied from: kept apart from their positions.

So a position that was lost is missed, and never taken for one that was not there yet.
"""

from __future__ import annotations

import msgspec

from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import LogBusy
from stream_app.records import parse_position

_KEY = "intake"
_TRIES = 100


def known_sources(log: Log, pipeline: str) -> list[tuple[str, int]]:
    """Return the (topic, partition)s that intake has begun with."""
    places = [parse_position(f"{name}@0") for name in _names(_read(log, pipeline))]
    return [(topic, partition) for topic, partition, _ in sorted(places)]


def note_source(log: Log, pipeline: str, name: str) -> None:
    """Take note, durably, that `topic/partition` has a position from now on."""
    for _ in range(_TRIES):
        before = _read(log, pipeline)
        names = _names(before)
        if name in names:
            return
        after = msgspec.json.encode(sorted([*names, name]))
        if log.ledger_put(Topics(pipeline).ledger, 0, _KEY, after, expected=before):
            return
    raise LogBusy(
        f"others kept adding sources of {pipeline} in {log.url}.", attempt="the same command again"
    )


def _read(log: Log, pipeline: str) -> bytes | None:
    return log.ledger_get(Topics(pipeline).ledger, 0, _KEY)


def _names(value: bytes | None) -> list[str]:
    return [] if value is None else msgspec.json.decode(value, type=list[str])
