"""What is done to the log's tables inside one transaction, whoever opened it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from stream_app.core.log import LedgerPlace
from stream_app.storage import sqlite_schema as schema
from stream_app.storage.record_columns import Damaged, RecordColumns, in_chunks

_Name = TypeVar("_Name")


class Connection(Protocol):
    """Runs SQL; leaves out transactions, which belong to whoever opened the connection."""

    def execute(self, statements: str, bindings: Sequence[Any] | None = None) -> Any:
        """Run SQL; returns a cursor."""
        ...

    def executemany(self, statements: str, sequenceofbindings: Iterable[Sequence[Any]]) -> Any:
        """Run SQL once for each of the bindings."""
        ...


def row(connection: Connection, sql: str, bindings: Sequence[Any] = ()) -> tuple[Any, ...]:
    """Return the one row of a query; raises `Damaged` when there is none."""
    rows: list[tuple[Any, ...]] = connection.execute(sql, bindings).fetchall()
    if not rows:
        raise Damaged(f"no row for {sql!r} with {bindings}")
    return rows[0]


def log_id(connection: Connection) -> str:
    """Return the log's identity; raises `Damaged`."""
    found = row(connection, "SELECT log_id FROM log")[0]
    if type(found) is not str:
        raise Damaged(f"the log's identity is {found!r}")
    return found


def topics(connection: Connection) -> dict[str, list[int]]:
    """Return each topic's row ids in the order of its partitions; raises `Damaged`."""
    found: dict[str, list[int]] = {}
    for topic, partition, row_id in connection.execute(schema.SELECT_TOPICS).fetchall():
        row_ids = found.setdefault(topic, [])
        if type(topic) is not str or partition != len(row_ids):
            raise Damaged(f"topic {topic!r} has {partition!r} as its partition {len(row_ids)}")
        row_ids.append(row_id)
    return found


def ledger_value(connection: Connection, ledger: str, partition: int, key: str) -> bytes | None:
    """Return a ledger value, or None; raises `Damaged` for what is no value."""
    rows = connection.execute(schema.SELECT_LEDGER, (ledger, partition, key)).fetchall()
    if not rows:
        return None
    value = rows[0][0]
    if type(value) is not bytes:
        raise Damaged(f"the ledger {ledger!r} has no bytes as its {key} of partition {partition}")
    return value


def value_at(connection: Connection, place: LedgerPlace) -> bytes | None:
    """Return the ledger value at a place, or None."""
    return ledger_value(connection, place.ledger, place.partition, place.key)


def set_value(connection: Connection, place: LedgerPlace, value: bytes) -> None:
    """Set the ledger value at a place."""
    bindings = (place.ledger, place.partition, place.key, value)
    connection.execute(schema.UPSERT_LEDGER, bindings)


def claimed_as(place: LedgerPlace) -> tuple[str, int]:
    """Return the name under which a ledger value is claimed, which no partition's claim has."""
    return f"{place.ledger}/{place.key}", place.partition


def bounds(connection: Connection, row_id: int) -> tuple[int, int]:
    """Return a partition's (first offset kept, next offset); raises `Damaged`."""
    start, stop = row(connection, schema.SELECT_BOUNDS, (row_id,))
    if type(start) is not int or type(stop) is not int:
        raise Damaged(f"partition {row_id} has the bounds {start!r} and {stop!r}")
    return start, stop


def require_ends(connection: Connection) -> None:
    """Raise `Damaged` unless each partition has the records at both of its bounds, and none beyond.

    Whoever reads would notice a hole; that a partition ends too early only this can tell.
    """
    for topic, row_ids in topics(connection).items():
        for partition, row_id in enumerate(row_ids):
            start, stop = bounds(connection, row_id)
            base = row_id << schema.OFFSET_BITS
            there = row(
                connection, schema.SELECT_ENDS, (base, base + (1 << schema.OFFSET_BITS)) * 2
            )
            if there != ((base + start, base + stop - 1) if stop > start else (None, None)):
                raise Damaged(f"the records of {topic}/{partition} do not end where it ends")


def insert(
    connection: Connection, batches: dict[_Name, RecordColumns], now_ms: int
) -> dict[_Name, int]:
    """Give each batch the next offsets of its partition; returns its first."""
    return {name: _insert_batch(connection, batch, now_ms) for name, batch in batches.items()}


def delete_below(connection: Connection, row_id: int, from_offset: int, records_max: int) -> int:
    """Delete up to so many of a partition's oldest records; returns how many."""
    start, stop = bounds(connection, row_id)
    end: int = min(from_offset, stop, start + records_max)
    if end <= start:
        return 0
    base = row_id << schema.OFFSET_BITS
    connection.execute(schema.DELETE_RECORDS, (base + start, base + end))
    connection.execute(schema.UPDATE_START, (end, row_id))
    return end - start


def first_since(connection: Connection, row_id: int, timestamp_ms: int) -> int:
    """Find the first offset appended at or after a time; append times never fall."""
    low, high = bounds(connection, row_id)
    while low < high:
        middle = (low + high) // 2
        position = (row_id << schema.OFFSET_BITS) + middle
        if row(connection, schema.SELECT_APPEND_TIME, (position,))[0] < timestamp_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _insert_batch(connection: Connection, batch: RecordColumns, now_ms: int) -> int:
    first: int
    first, append_ms = row(connection, schema.SELECT_COUNTER, (batch.row_id,))
    # A clock set back must not make append times fall: they are part of what a fold reads.
    append_ms = max(append_ms, now_ms)
    rows = batch.rows(first, append_ms)
    chunks = in_chunks(rows, len(batch) // schema.ROWS_PER_INSERT)
    connection.executemany(schema.INSERT_CHUNK, chunks)
    connection.executemany(schema.INSERT_RECORD, rows)  # the rest of them
    counter = (first + len(batch), append_ms, batch.row_id)
    connection.execute(schema.UPDATE_COUNTER, counter)
    return first
