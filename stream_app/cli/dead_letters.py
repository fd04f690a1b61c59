"""`stream-app dead-letters`: refused records and failed calls, and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import click
import msgspec

from stream_app.cli import options
from stream_app.cli.pipeline_argument import named, pipeline_name
from stream_app.cli.stdout import emit, flush
from stream_app.cli.table import table_lines
from stream_app.core.topics import Topics
from stream_app.hosts.client import read_records
from stream_app.hosts.log_url import open_broker
from stream_app.outputs import DeadLetter, ModelFailure
from stream_app.records import Record, format_position

ORIGINAL_CHARS_MAX = 100
_decode = msgspec.json.Decoder(DeadLetter | ModelFailure).decode
_HEAD = ("POSITION", "REASON", "FIELD", "DETAIL", "ORIGINAL")


@click.command()
@pipeline_name
@click.option("--reason", metavar="R", help="Only these, such as wrong_type or model_failure.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more.")
@click.option("--limit", "-n", type=click.IntRange(0), metavar="N", help="At most N.")
@options.as_json
@options.broker
@options.logs
def dead_letters(
    name: str, reason: str | None, follow: bool, limit: int | None, as_json: bool, broker: str
) -> None:
    """Show the records of pipeline NAME that were refused: where they are, and why."""
    log = open_broker(broker, read_only=True)
    try:
        manifest = named(log, name)
        topic = Topics(manifest.pipeline).dead_letters
        offsets = {p: log.bounds(topic, p)[0] for p in range(manifest.partitions)}
        seen: set[str] = set()
        found = _chosen(read_records(log, topic, offsets, follow=follow), reason, seen)
        found = islice(found, limit)
        if as_json:
            for record, _ in found:
                emit(record.value)
                _flush_if(follow)
        else:
            _print_table(found, follow)
        if limit != 0 and (reason not in seen if reason else not seen):
            there = f"; there are {', '.join(sorted(seen))}" if seen else ""
            which = f" with the reason {reason!r}" if reason else ""
            click.echo(f"{manifest.pipeline} has no dead letters{which}{there}.", err=True)
    finally:
        log.close()


def _chosen(
    records: Iterator[Record], reason: str | None, seen: set[str]
) -> Iterator[tuple[Record, DeadLetter | ModelFailure]]:
    for record in records:
        letter = _decode(record.value)
        own = letter.reason if isinstance(letter, DeadLetter) else "model_failure"
        seen.add(own)
        if reason is None or own == reason:
            yield record, letter


def _print_table(found: Iterator[tuple[Record, DeadLetter | ModelFailure]], follow: bool) -> None:
    rows = (_row(letter) for _, letter in found)
    if follow:  # a table's widths would have to wait for rows that may never come
        for row in rows:
            emit("  ".join(row))
            flush()
        return
    lines = table_lines(_HEAD, rows)
    head = next(lines)
    for i, line in enumerate(lines):
        if i == 0:
            emit(head)
        emit(line)


def _row(letter: DeadLetter | ModelFailure) -> tuple[str, ...]:
    source = letter.source
    position = format_position(source.topic, source.partition, source.offset)
    if isinstance(letter, ModelFailure):
        detail = f"{letter.version}: {letter.detail}"
        return position, "model_failure", letter.call, _one_line(detail), letter.observation_id
    return (
        position,
        letter.reason,
        letter.field or "-",
        _one_line(letter.detail),
        _one_line(letter.original.data)[:ORIGINAL_CHARS_MAX],
    )


def _one_line(text: str) -> str:
    """Keep control characters of somebody's broken record off the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _flush_if(wanted: bool) -> None:
    if wanted:
        flush()
