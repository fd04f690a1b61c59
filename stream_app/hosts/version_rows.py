"""A version's predictions, wherever they were routed, in the order of the events behind them."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from operator import attrgetter

import msgspec

from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted
from stream_app.hosts.bounds import first_where
from stream_app.outputs import Prediction
from stream_app.records import Record

BATCH = 5000
_PREDICTION = b'{"kind":"prediction"'
_decode = msgspec.json.Decoder(Prediction).decode
_source_offset = attrgetter("source.offset")


class VersionRows:
    """One version's predictions in one partition, from an event's offset on; read forwards only.

    They are the disjoint union of its rows in the champion's topic and in its shadow topic.
    """

    def __init__(self, log: Log, topics: Topics, partition: int, version: str, begin: int) -> None:
        present = log.topics()
        names = [n for n in (topics.predictions, topics.shadow(version)) if n in present]
        self.removed = [
            f"{name}/{partition}" for name in names if log.bounds(name, partition)[0] > 0
        ]
        header = ("version", version.encode())
        parts = [_predictions(log, name, partition, header, begin) for name in names]
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
    log: Log, topic: str, partition: int, header: tuple[str, bytes], begin: int
) -> Iterator[Prediction]:
    """Yield one version's predictions in a topic, of events from `begin` on."""
    offset = first_where(log, topic, partition, lambda record: _cause(record) >= begin)
    while records := log.read(topic, partition, offset, records_max=BATCH):
        for record in records:
            if header not in record.headers or not record.value.startswith(_PREDICTION):
                continue
            yield _decoded(record)
        offset = records[-1].offset + 1


def _cause(record: Record) -> int:
    """Return the offset of the event that caused an output."""
    offset = dict(record.headers).get("source", b"").rpartition(b"@")[2]
    if not offset.isdigit():
        raise LogUntrusted(
            f"{record.position} does not say which event caused it: it is no output of ours.",
            attempt="keep other producers away from a pipeline's topics (ACLs)",
        )
    return int(offset)


def _decoded(record: Record) -> Prediction:
    try:
        return _decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogUntrusted(
            f"{record.position} is not the prediction that was written: {error}.",
            attempt="stream-app replay FILE, and restore the log from a backup",
        ) from None
