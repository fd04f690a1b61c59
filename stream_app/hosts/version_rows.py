"""A version's predictions, wherever they were routed, in the order of the events behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from operator import attrgetter
from typing import NamedTuple

import msgspec

from stream_app.core.commit import Commit, Manifest
from stream_app.core.log import Log
from stream_app.core.seats import NEVER, SeatChange
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted
from stream_app.hosts.first_where import first_where
from stream_app.hosts.prediction_search import cause
from stream_app.outputs import Prediction
from stream_app.records import Record

BATCH = 5000
_PREDICTION = b'{"kind":"prediction"'
_decode = msgspec.json.Decoder(Prediction).decode
_source_offset = attrgetter("source.offset")


class Reign(NamedTuple):
    """Offsets of events, `until` left out, at which a version was champion."""

    since: int
    until: int


def reigns(first: str, changes: Sequence[SeatChange], version: str) -> list[Reign]:
    """Return when a version was champion; `first` was it to begin with."""
    found, champion, since = [], first, 0
    effective = [change for change in changes if not change.refused]
    for change in sorted(effective, key=lambda change: change.since):
        if champion == version and since < change.since:
            found.append(Reign(since, change.since))
        champion, since = change.champion, change.since
    return [*found, Reign(since, NEVER)] if champion == version else found


class VersionRows:
    """One version's predictions in one partition, from an event's offset on; read forwards only.

    They are the disjoint union of its rows in the champion's topic, as far as it was champion, and
    in its shadow topic.
    """

    def __init__(
        self,
        log: Log,
        manifest: Manifest,
        partition: int,
        version: str,
        begin: int,
        commit: Commit | None,
    ) -> None:
        topics, present = Topics(manifest.pipeline), log.topics()
        changes = () if commit is None else commit.seats
        spans = [(topics.shadow(version), Reign(0, NEVER))]
        for reign in reigns(manifest.initial_champion, changes, version):
            if reign.until > begin:
                spans.append((topics.predictions, reign))
        spans = [(topic, span) for topic, span in spans if topic in present]
        names = sorted({topic for topic, _ in spans})
        self.removed = [f"{n}/{partition}" for n in names if log.bounds(n, partition)[0] > 0]
        header = ("version", version.encode())
        parts = [
            _predictions(log, topic, partition, header, Reign(max(begin, span.since), span.until))
            for topic, span in spans
        ]
        self._rows = iter(merge(*parts, key=_source_offset))
        self._next = next(self._rows, None)
        self.version = version
        self.found = self._next is not None

    def at(self, offset: int) -> Prediction | None:
        """Return the prediction for the event at `offset`; None when the version has none.

        Offsets must grow from call to call.
        """
        row = self._next
        while row is not None and row.source.offset < offset:
            before, row = row.source.offset, next(self._rows, None)
            if row is not None and row.source.offset <= before:
                raise LogUntrusted(
                    f"{self.version} has predictions out of order: after the event at {before} "
                    f"comes {row.id}.",
                    attempt="stream-app replay FILE, which names the first row that is wrong",
                )
        self._next = row
        return row if row is not None and row.source.offset == offset else None


def _predictions(
    log: Log, topic: str, partition: int, header: tuple[str, bytes], span: Reign
) -> Iterator[Prediction]:
    """Yield one version's predictions in a topic, of the events in a span."""
    offset = first_where(log, topic, partition, lambda record: cause(record) >= span.since)
    while records := log.read(topic, partition, offset, records_max=BATCH):
        for record in records:
            if header not in record.headers or not record.value.startswith(_PREDICTION):
                continue
            row = _decoded(record)
            if row.source.offset >= span.until:
                return
            yield row
        offset = records[-1].offset + 1
        if span.until < NEVER and cause(records[-1]) >= span.until:
            return


def _decoded(record: Record) -> Prediction:
    try:
        return _decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogUntrusted(
            f"{record.position} is not the prediction that was written: {error}.",
            attempt="stream-app replay FILE, and restore the log from a backup",
        ) from None
