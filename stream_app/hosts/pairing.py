"""One partition's events, with what two versions predicted of each and the label that came."""

from __future__ import annotations

from stream_app.core.joins import Joins, Labelled, Observed
from stream_app.hosts.bounds import Range
from stream_app.hosts.scored_pairs import ScoredPairs, Waiting
from stream_app.hosts.version_rows import VersionRows
from stream_app.records import Record


class Pairing:
    """Brings predictions and labels together; what waits is bounded by the log's `ids_max`."""

    def __init__(
        self, joins: Joins, a: VersionRows, b: VersionRows, chosen: Range, pairs: ScoredPairs
    ) -> None:
        self._joins = joins
        self._a = a
        self._b = b
        self._begin, self._end = chosen
        self._pairs = pairs
        self._waiting: dict[int, Waiting] = {}

    def done(self, offset: int) -> bool:
        """Whether nothing from `offset` on can be compared any more."""
        return offset >= self._end and not self._waiting

    def process(self, record: Record) -> None:
        """Fold one more event."""
        joins = self._joins
        found = joins.process(record)
        if type(found) is Observed:
            self._observed(found)
        elif type(found) is Labelled:
            waiting = self._waiting.pop(found.seq, None)
            if waiting is not None:
                self._pairs.score(waiting, found.label, joins.now_ms)
        for seq in joins.expired:
            if self._waiting.pop(seq, None) is not None:
                self._pairs.counted.unlabelled += 1

    def _observed(self, event: Observed) -> None:
        offset = event.offset
        if not self._begin <= offset < self._end:
            return
        a, b = self._a.at(offset), self._b.at(offset)
        if a is None or b is None:
            self._pairs.counted.only_a += a is not None
            self._pairs.counted.only_b += b is not None
            return
        waiting = self._pairs.waiting(event, a, b)
        if event.label is None:
            self._waiting[event.seq] = waiting
        else:
            self._pairs.score(waiting, event.label, self._joins.now_ms)

    def end(self) -> None:
        """Count what waits in vain."""
        self._pairs.counted.unlabelled += len(self._waiting)
        self._waiting.clear()
