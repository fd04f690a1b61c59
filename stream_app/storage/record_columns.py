"""Records on their way into SQLite and back: columns of encoded bytes, and rows.

SQLite keeps no checksum of a page, so each record has one of its own (CRC-32, as Kafka's batches):
before its encoded headers, over key, value and headers, and mixed with its place and append time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any
from zlib import crc32

import msgspec

from stream_app.records import Headers, NewRecord, Output, Record, format_position
from stream_app.storage.sqlite_schema import OFFSET_BITS, ROWS_PER_INSERT

_OPTIONAL = (bytes, type(None))
_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_SUM_BYTES = 4
_SUM_BITS = 8 * _SUM_BYTES
_SUM_MASK = (1 << _SUM_BITS) - 1

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode

Cell = int | bytes | None
Row = tuple[int, int, bytes | None, bytes, bytes | None]


class Damaged(Exception):
    """A row is not there, or is not what was written."""


class RecordColumns:
    """Records for one partition, encoded before the transaction that inserts them.

    Whoever waits for the log's one writer waits for inserts only, never for our encoding.
    """

    __slots__ = ("_checked", "_headers", "_keys", "_sums", "_values", "row_id")

    def __init__(self, row_id: int, *, checked: bool) -> None:
        self.row_id = row_id
        self._checked = checked
        self._sums: list[int] = []
        self._keys: list[bytes | None] = []
        self._values: list[bytes] = []
        self._headers: list[bytes | None] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, record: NewRecord | Output) -> int:
        """Take a record in; return its place among these records."""
        key, value = record.key, record.value
        packed = _encode_headers(record.headers) if record.headers else None
        self._keys.append(key)
        self._values.append(value)
        self._headers.append(packed)
        if self._checked:
            self._sums.append(_sum(key, value, packed))
        return len(self._values) - 1

    def rows(self, first_offset: int, append_ms: int) -> Iterator[Row]:
        """Return the rows to insert, now that offset and append time are known."""
        position = (self.row_id << OFFSET_BITS) + first_offset
        positions = range(position, position + len(self._values))
        headers: Iterator[bytes | None] = iter(self._headers)
        if self._checked:
            headers = map(_sealed, self._sums, self._headers, positions, repeat(append_ms))
        return zip(positions, repeat(append_ms), self._keys, self._values, headers)


def sealed_headers(row: Row) -> bytes:
    """Return what stands as a row's headers where records have checksums."""
    position, append_ms, key, value, packed = row
    return _sealed(_sum(key, value, packed), packed, position, append_ms)


def _sum(key: bytes | None, value: Any, packed: bytes | None) -> int:
    """Return the checksum of what a producer has sent; no key is not an empty one."""
    try:
        return crc32(packed or b"", crc32(value, 1 if key is None else crc32(key)))
    except TypeError:  # no bytes: SQLite refuses it by name
        return 0


def _sealed(total: int, packed: bytes | None, position: int, append_ms: int) -> bytes:
    # Both are longer than the sum, and no bit of them may go.
    place = position ^ position >> _SUM_BITS
    time = append_ms ^ append_ms >> _SUM_BITS
    mixed = (total ^ place ^ time) & _SUM_MASK
    return mixed.to_bytes(_SUM_BYTES, "big") + (packed or b"")


def in_chunks(rows: Iterator[Row], chunks: int) -> Iterator[tuple[Cell, ...]]:
    """Return the cells of the next `ROWS_PER_INSERT` rows, `chunks` times; leaves the rest."""
    cells: Iterator[Cell] = chain.from_iterable(rows)
    for _ in range(chunks):
        yield tuple(islice(cells, ROWS_PER_INSERT * 5))


def take(
    rows: Iterator[Any], topic: str, partition: int, bytes_max: int, *, checked: bool
) -> list[Record]:
    """Make records of rows until `bytes_max` is reached, but at least one.

    Raises `Damaged` when a row is not what `RecordColumns` wrote: SQLite believes whatever types
    a damaged page tells it, and says NULL where bytes must be.
    """
    records: list[Record] = []
    size = 0
    for position, timestamp_ms, key, value, sealed in rows:
        if (
            type(value) is not bytes
            or type(key) not in _OPTIONAL
            or type(sealed) not in _OPTIONAL
            or type(timestamp_ms) is not int
        ):
            raise Damaged(f"row {position} of records holds values of other types")
        size += len(value) + len(key or b"") + len(sealed or b"")
        if size > bytes_max and records:
            break
        packed = sealed
        if checked:
            packed = (sealed or b"")[_SUM_BYTES:]
            if sealed != _sealed(_sum(key, value, packed), packed, position, timestamp_ms):
                place = format_position(topic, partition, position & _OFFSET_MASK)
                raise Damaged(f"the record at {place} is not as it was written")
        offset = position & _OFFSET_MASK
        headers = _headers(packed) if packed else ()
        records.append(Record(topic, partition, offset, timestamp_ms, key, value, headers))
    return records


def _headers(packed: Any) -> Headers:
    try:
        return _decode_headers(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"headers cannot be read: {error}") from None


def dense(records: list[Record], first_offset: int) -> bool:
    """Say whether these are the records from `first_offset` on, without a gap."""
    return (
        bool(records)
        and records[0].offset == first_offset
        and records[-1].offset == first_offset + len(records) - 1
    )
