"""A log's file changed behind everybody's back, by somebody who has SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from stream_app.storage.record_columns import sealed_headers
from stream_app.storage.sqlite_schema import CHECKED_SINCE


def sql(path: Path, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    """Change a log's file, or look into it; the statement is a transaction of its own."""
    with closing(apsw.Connection(str(path))) as connection:
        return connection.execute(statement, values).fetchall()


def forge(path: Path, statement: str, values: Sequence[Any] = ()) -> None:
    """Change records, and give them the checksums that they then have to have."""
    with closing(apsw.Connection(str(path))) as connection:
        assert connection.pragma("user_version") >= CHECKED_SINCE
        before = dict(_rows(connection))
        connection.execute(statement, values)
        for position, row in _rows(connection):
            if before.get(position) != row:
                append_ms, key, value, headers = row
                sealed = sealed_headers((position, append_ms, key, value, headers[4:]))
                change = "UPDATE records SET headers = ? WHERE position = ?"
                connection.execute(change, (sealed, position))


def _rows(connection: apsw.Connection) -> list[tuple[int, tuple[Any, ...]]]:
    rows = connection.execute("SELECT position, timestamp_ms, key, value, headers FROM records")
    found: list[Any] = rows.fetchall()
    return [(row[0], row[1:]) for row in found]
