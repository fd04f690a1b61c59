"""A log's file changed behind everybody's back by somebody who has SQLite, checksums and all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw

from stream_app.storage.sqlite_file import use_page_checksums


@contextmanager
def tampered(path: Path) -> Iterator[apsw.Connection]:
    """Open a log's file as what it is underneath; every statement is a transaction of its own."""
    use_page_checksums()
    with closing(apsw.Connection(str(path))) as connection:
        yield connection


def sql(path: Path, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    """Change a log's file, or look into it."""
    with tampered(path) as connection:
        return connection.execute(statement, values).fetchall()
