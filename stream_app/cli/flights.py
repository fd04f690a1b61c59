"""`stream-app flights`: the real flights of New York 2013 as JSON lines, for pipes."""

from __future__ import annotations

from itertools import islice

import click

from stream_app.cli import options
from stream_app.cli.stdout import emit

DAYS = 45
LINES_MAX = 500


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    default=DAYS,
    show_default=True,
    help="Flights of the first so many days of 2013; 365 are all.",
)
@options.logs
def flights(days: int) -> None:
    """Print the flights of New York 2013 as events, in order of event time.

    An observation when a flight leaves, a label when it lands: more than 15 minutes late? The key
    is the airport that it leaves. The lines are what `produce` takes, and what any Kafka client
    may send: stream-app flights | stream-app produce flights.py
    """
    from stream_app.codec.encode import encode_event
    from stream_app.datasets.flights import flights as events

    lines = (encode_event(event).value.decode() for event in events(days=days))
    while block := list(islice(lines, LINES_MAX)):
        emit("\n".join(block))
