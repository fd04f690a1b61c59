"""`stream-app consume`: a topic's records as JSON lines."""

from __future__ import annotations

import base64
import time
from collections.abc import Collection, Iterator
from itertools import islice

import click
import msgspec

from stream_app.cli import options
from stream_app.cli.stderr import doing, say
from stream_app.cli.stdout import emit, flush
from stream_app.core.log import Log
from stream_app.core.log_rules import unknown_topic
from stream_app.errors import UsageError
from stream_app.hosts.bounds import offsets_of, parse_bound
from stream_app.hosts.client import read_records
from stream_app.hosts.event_positions import require_meant
from stream_app.hosts.log_url import log_exists, open_broker
from stream_app.near_names import did_you_mean
from stream_app.records import Record

LOOK_AGAIN_S = 0.3


@click.command()
@click.argument("topic")
@click.option("--follow", "-f", is_flag=True, help="Wait for more.")
@click.option(
    "--from",
    "begin",
    metavar="X",
    default="earliest",
    show_default=True,
    help="earliest, latest, an offset, a position (flights.events/0@1234), or a time of append "
    "(2013-02-01T12:00, -2d).",
)
@click.option("--partition", type=click.IntRange(0), metavar="N", help="Of this partition only.")
@click.option("--limit", "-n", type=click.IntRange(0), metavar="N", help="At most N records.")
@click.option("--with-metadata", is_flag=True, help="Wrap each with position, time, key, headers.")
@options.broker
@options.logs
def consume(
    topic: str,
    follow: bool,
    begin: str,
    partition: int | None,
    limit: int | None,
    with_metadata: bool,
    broker: str,
) -> None:
    """Print TOPIC's records as JSON lines, partition by partition.

    With --follow a topic that does not exist yet is waited for.

    Outputs are printed as they are. What is no line of JSON (somebody's broken event) comes as
    {"encoding": ..., "data": ...}, in base64 unless it is UTF-8.
    """
    if follow:
        _wait_for(broker, topic)
    log = open_broker(broker, read_only=True)
    try:
        offsets = _offsets(log, topic, begin, partition)
        records = read_records(log, topic, offsets, follow=follow)
        if follow:
            doing(f"waiting for records of {topic}, Ctrl-C ends it")
        found = False
        for record in islice(records, limit):
            found = True
            value = _line(record)
            emit(_wrapped(record, value) if with_metadata else value)
            if follow:
                flush()
        if not found and limit != 0:
            where = topic if partition is None else f"{topic}/{partition}"
            say(f"{where} has no records{'' if begin == 'earliest' else f' from {begin} on'}.")
    finally:
        log.close()


def _wait_for(broker: str, topic: str) -> None:
    """Wait until a log has a topic: whoever makes it may be started after us."""
    told = False
    while topic not in (there := _topics(broker)):
        if not told:
            meant = did_you_mean(topic, there)
            say(f"Waiting for {topic}, which {broker} does not have yet (Ctrl-C ends it){meant}")
            told = True
        time.sleep(LOOK_AGAIN_S)


def _topics(broker: str) -> Collection[str]:
    if not log_exists(broker):
        return ()
    log = open_broker(broker, read_only=True)
    try:
        return log.topics()
    finally:
        log.close()


def _offsets(log: Log, topic: str, begin: str, partition: int | None) -> dict[int, int]:
    count = log.topics().get(topic)
    if count is None:
        # Raises as well, or else says that the topic is there and hidden from this user.
        log.bounds(topic, 0)
        raise unknown_topic(log.url, topic, log.topics())
    if partition is not None:
        require_meant(topic, partition, count)
    bound = parse_bound(begin, "--from", time.time_ns() // 1_000_000)
    offsets = offsets_of(log, topic, bound, option="--from", text=begin)
    chosen = {p: at for p, at in offsets.items() if partition in (None, p)}
    if not chosen:
        raise UsageError(
            f"--from {begin} is in another partition than {partition}", attempt="one of the two"
        )
    return chosen


def _line(record: Record) -> bytes:
    """Return a value as one line of JSON; outputs are that already, events may be anything."""
    value = record.value
    if not record.topic.endswith(".events"):
        return value
    try:
        text = value.decode()
        msgspec.json.decode(value)
    except UnicodeDecodeError:
        return _data("base64", base64.b64encode(value).decode("ascii"))
    except (msgspec.MsgspecError, RecursionError):
        return _data("utf-8", text)
    return value if b"\n" not in value else msgspec.json.format(value, indent=-1)


def _data(encoding: str, data: str) -> bytes:
    return msgspec.json.encode({"encoding": encoding, "data": data})


def _wrapped(record: Record, value: bytes) -> bytes:
    return msgspec.json.encode(
        {
            "position": record.position,
            "timestamp_ms": record.timestamp_ms,
            "key": None if record.key is None else record.key.decode("utf-8", "backslashreplace"),
            "headers": dict(_headers(record)),
            "value": msgspec.Raw(value),
        }
    )


def _headers(record: Record) -> Iterator[tuple[str, str]]:
    for name, value in record.headers:
        yield name, value.decode("utf-8", "backslashreplace")
