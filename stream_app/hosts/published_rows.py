"""Published outputs, read in order beside a fold that makes them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from stream_app.core.log import Log
from stream_app.hosts.first_where import first_where
from stream_app.records import Output, Record

BATCH = 5000


class Difference(msgspec.Struct, frozen=True):
    """The first place where a replay is not what was published; None: nothing is there."""

    position: str
    source: str
    field: str
    published: str | None
    recomputed: str | None


def source_offset(row: Record | Output) -> int | None:
    """Return the offset of the event that caused an output; None where it does not say."""
    source = dict(row.headers).get("source", b"").decode("utf-8", "replace")
    offset = source.rpartition("@")[2]
    return int(offset) if offset.isdecimal() else None


def _caused_before(row: Record, offset: int) -> bool:
    caused = source_offset(row)
    return caused is not None and caused < offset


class PublishedRows:
    """One output topic's records from a source offset on.

    Left out are those of `ignored` versions that events before an offset have caused, which is the
    one where the version left. Rows of theirs that claim a later cause are nobody's. A topic's rows
    are in the order of what caused them, whichever lineage has put them out.
    """

    def __init__(
        self, log: Log, topic: str, partition: int, ignored: Mapping[str, int], first: int
    ) -> None:
        self._log = log
        self._topic = topic
        self._partition = partition
        self._ignored = {version.encode(): until for version, until in ignored.items()}
        self._cut = False
        self._rows: Iterator[Record] = iter(())
        if topic in log.topics():
            begin = first_where(log, topic, partition, lambda row: not _caused_before(row, first))
            self._cut = self._nothing_before(begin)
            self._rows = self._read(begin)
        self._next: Record | None = next(self._rows, None)
        self.compared = 0
        self.skipped = 0
        self.digests = 0

    def _nothing_before(self, begin: int) -> bool:
        """Tell whether retention may have taken rows from `begin` on, besides those before it.

        Where the rest begins is found by comparing then. A row that is left before it tells that
        none of those from there on are gone.
        """
        start = self._log.bounds(self._topic, self._partition)[0]
        if start == 0:
            return False
        oldest = self._log.read(self._topic, self._partition, start, records_max=1)
        return not oldest or oldest[0].offset >= begin

    def _read(self, offset: int) -> Iterator[Record]:
        while True:
            records = self._log.read(self._topic, self._partition, offset, records_max=BATCH)
            if not records:
                return
            if self._ignored:
                yield from (record for record in records if not self._is_ignored(record))
            else:
                yield from records
            offset = records[-1].offset + 1

    def _is_ignored(self, record: Record) -> bool:
        until = self._ignored.get(dict(record.headers).get("version", b""))
        return until is not None and _caused_before(record, until)

    def compare(self, output: Output) -> Difference | None:
        """Compare the next row with what was made again."""
        record = self._next
        if self._cut and (record is None or self._gone(record, output)):
            self.skipped += 1
            return None
        self._cut = False
        if record is None:
            source = dict(output.headers).get("source", b"").decode()
            value = output.value.decode("utf-8", "replace")
            return Difference(f"{self._topic}/{self._partition}", source, "value", None, value)
        self._next = next(self._rows, None)
        if self._ignored and dict(record.headers).get("version") in self._ignored:
            return uncaused(record)
        if not _same(record, output):
            return _difference(record, output)
        self.compared += 1
        if b'"kind":"state_digest"' in output.value:
            self.digests += 1
        return None

    def _gone(self, first: Record, output: Output) -> bool:
        """Tell whether retention has taken an output's row, as far as the first row left tells."""
        begins, caused = source_offset(first), source_offset(output)
        if begins is None or caused is None or caused > begins:
            return False
        return caused < begins or not _same(first, output)

    def compare_end(self, next_offset: int, *, to_the_last: bool) -> Difference | None:
        """Find a row that nothing before `next_offset` caused, and that claims it did.

        Rows from beyond it may follow, published since the replay began, or not asked for; with
        `to_the_last` whatever stands behind those is looked at, too.
        """
        record = self._next
        while record is not None:
            caused = source_offset(record)
            # What names no offset was not put out by us, or was damaged since.
            if caused is None or caused < next_offset:
                return uncaused(record)
            record = self._next = next(self._rows, None) if to_the_last else None
        return None


def uncaused(record: Record) -> Difference:
    """Return the difference that a row is which nothing has caused."""
    source = dict(record.headers).get("source", b"").decode("utf-8", "replace")
    value = record.value.decode("utf-8", "replace")
    return Difference(record.position, source, "value", value, None)


def _same(record: Record, output: Output) -> bool:
    return (
        record.value == output.value
        and record.key == output.key
        and record.headers == output.headers
    )


def _difference(record: Record, output: Output) -> Difference:
    """Name the first field that differs."""
    source = dict(output.headers).get("source", b"").decode()
    if record.key != output.key:
        return Difference(record.position, source, "key", repr(record.key), repr(output.key))
    if record.headers != output.headers:
        old, new = repr(record.headers), repr(output.headers)
        return Difference(record.position, source, "headers", old, new)
    old_value, new_value = _fields(record.value), _fields(output.value)
    for name in [*new_value, *(name for name in old_value if name not in new_value)]:
        before, after = old_value.get(name), new_value.get(name)
        if before != after:
            return Difference(record.position, source, name, before, after)
    old, new = record.value.decode("utf-8", "replace"), output.value.decode("utf-8", "replace")
    return Difference(record.position, source, "value", old, new)


def _fields(value: bytes) -> dict[str, str]:
    try:
        document = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):  # what is compared may be damaged
        return {"value": value.decode("utf-8", "replace")}
    return {name: bytes(raw).decode("utf-8", "replace") for name, raw in document.items()}
