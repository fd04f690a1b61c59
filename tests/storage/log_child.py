"""A process of its own that works on an embedded log until somebody kills it."""

from __future__ import annotations

import os
import sys
from itertools import count

from stream_app.core.log import LedgerPlace
from stream_app.errors import StreamAppError
from stream_app.records import NewRecord, Output
from stream_app.storage.sqlite_log import SqliteLog


def say(*words: object) -> None:
    print(*words, flush=True)


def append(path: str, writer: str, records: str) -> None:
    """Append one by one, saying each offset once it is acknowledged; 0 records: for ever."""
    log = SqliteLog.open(path, create=False)
    for number in range(int(records)) if int(records) else count():
        [(partition, offset)] = log.append("t", [NewRecord(None, f"{writer}:{number}".encode())])
        say(partition, offset, number)


def claim(path: str) -> None:
    """Claim and hold until standard input ends."""
    held = SqliteLog.open(path, create=False).claim("l", 0)
    say(held.epoch)
    sys.stdin.read()


def claim_value(path: str) -> None:
    """Claim a ledger value and hold it until standard input ends."""
    held = SqliteLog.open(path, create=False).claim_value(LedgerPlace("l", 0, "m"))
    say(held.epoch)
    sys.stdin.read()


def publish(path: str) -> None:
    """Publish batches of five with the commit that names them, for ever."""
    log = SqliteLog.open(path, create=False)
    held = log.claim("l", 0)
    text = held.committed()
    expected = int(text) if text else None
    for next_offset in count((expected or 0) + 5, 5):
        outputs = [Output("t", None, str(n).encode()) for n in range(next_offset - 5, next_offset)]
        held.publish(outputs, str(next_offset).encode(), expected=expected, next_offset=next_offset)
        expected = next_offset
        say(next_offset)


def freeze(path: str) -> None:
    """Hold the log's one write transaction until standard input ends."""
    log = SqliteLog.open(path, create=False)
    with log._writing():
        say("writing")
        sys.stdin.read()


def look(path: str) -> None:
    """Hold a view of the log until standard input ends."""
    log = SqliteLog.open(path, create=False)
    with log._reading() as connection:
        connection.execute("SELECT count(*) FROM records").fetchall()
        say("looking")
        sys.stdin.read()


def create(path: str) -> None:
    """Make a log under the most permissive umask and use it, so that all its files exist."""
    os.umask(0)
    log = SqliteLog.open(path, create=True)
    log.create_topics({"t": 1})
    log.claim("l", 0)
    say("created")
    sys.stdin.read()


def as_nobody(path: str) -> None:
    """Open without any right to write, and say what comes of it."""
    os.setgid(65534)
    os.setuid(65534)
    try:
        SqliteLog.open(path, create=True)
    except StreamAppError as error:
        say(type(error).__name__, error)


if __name__ == "__main__":
    works = {
        work.__name__: work
        for work in (append, claim, claim_value, publish, freeze, look, create, as_nobody)
    }
    works[sys.argv[1]](*sys.argv[2:])
