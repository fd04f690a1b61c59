"""The demo's producer: appends the flights of 2013 in order of event time, each exactly once.

How many were appended is a value of the log itself, written in the transaction that appends: no
kill -9 can part the two, and a second producer finds the value changed and stops.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from itertools import islice, takewhile
from multiprocessing.connection import Connection
from zoneinfo import ZoneInfo

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.core.log import LedgerPlace, Log
from stream_app.core.topics import Topics
from stream_app.datasets.flights import FIRST_DAY, flights
from stream_app.errors import LogBusy
from stream_app.events import Label, Observation
from stream_app.hosts.demo_words import AllAppended, Begin
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import committed
from stream_app.records import NewRecord

BATCH = 500
# The log is at most this far ahead of the models, so that what is on screen is live.
AHEAD_MAX = 4_000
PAUSE_S = 0.02
_KEY = "flights"


class _Appended(msgspec.Struct, frozen=True):
    """How many events of the year are in the log."""

    events: int


def midnight_ms(days: int) -> int:
    """Return the Unix milliseconds of New York's midnight `days` days into 2013."""
    midnight = datetime.combine(FIRST_DAY + timedelta(days=days), time())
    return int(midnight.replace(tzinfo=ZoneInfo("America/New_York")).timestamp()) * 1000


def events_until(days: int | None) -> Iterator[Observation | Label]:
    """Yield the year's events before midnight after `days` days; None: all of them.

    Always the beginning of one and the same stream, so that more days go on where fewer ended;
    flights in the air at midnight get their labels then.
    """
    year = flights()
    if days is None:
        return year
    end_ms = midnight_ms(days)
    return takewhile(lambda event: event.ts_ms < end_ms, year)


def produce_flights(pipe: Connection, broker: str, days: int | None) -> None:
    """Append what the log lacks, never far ahead of the models, until the pipe says stop.

    It waits for the word `Begin` before it opens the log; any other word means stop.
    """
    events = events_until(days)
    try:
        word = pipe.recv()
    except EOFError:
        return
    if not isinstance(word, Begin):
        return
    log = open_broker(broker)
    try:
        end = _append_all(log, Topics(word.pipeline), events, pipe)
        if end is not None:
            pipe.send(AllAppended(end))
    finally:
        log.close()


def _append_all(
    log: Log, topics: Topics, events: Iterator[Observation | Label], pipe: Connection
) -> int | None:
    """Return the log's end; None when the pipe said stop."""
    ledger = f"{topics.pipeline}.demo"
    before = log.ledger_get(ledger, 0, _KEY)
    done = 0 if before is None else msgspec.json.decode(before, type=_Appended).events
    events = islice(events, done, None)
    while batch := [encode_event(event) for event in islice(events, BATCH)]:
        while log.bounds(topics.events, 0)[1] - _next_offset(log, topics) > AHEAD_MAX:
            if pipe.poll(PAUSE_S):
                return None
        if pipe.poll():
            return None
        done += len(batch)
        after = msgspec.json.encode(_Appended(done))
        _append(log, topics, batch, ledger, before, after)
        before = after
    return log.bounds(topics.events, 0)[1]


def _append(
    log: Log,
    topics: Topics,
    batch: list[NewRecord],
    ledger: str,
    before: bytes | None,
    after: bytes,
) -> None:
    place = LedgerPlace(ledger, 0, _KEY)
    if log.append_with_ledger(topics.events, batch, place, after, expected=before) is None:
        raise LogBusy(
            f"another demo appends flights to {log.url} at the same time.",
            attempt="wait for its end; or --directory for a demo of your own",
        )


def _next_offset(log: Log, topics: Topics) -> int:
    found = committed(log, topics.pipeline, 0)
    return 0 if found is None else found.next_offset
