"""`stream-app dead-letters`: refused records and failed calls, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import click
import msgspec

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, named, pipeline_name
from stream_app.cli.stderr import say
from stream_app.cli.stdout import emit, flush, terminal_width
from stream_app.cli.table import table_lines
from stream_app.codec.feature_hints import refusal_hint
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.hosts.client import read_records
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import champion, settings_in_force
from stream_app.hosts.pipeline_names import is_spec
from stream_app.near_names import no_version
from stream_app.outputs import AnyOutput, DeadLetter, ModelFailure
from stream_app.records import Record, format_position

ORIGINAL_CHARS_MAX = 100
_decode = msgspec.json.Decoder(AnyOutput).decode
WIDE_CHARS = 120
_HEAD = ("POSITION", "REASON", "FIELD", "DETAIL", "ORIGINAL")


@click.command()
@pipeline_name
@click.option("--version", metavar="V", help="Instead: the failed calls of this version's model.")
@click.option("--reason", metavar="R", help="Only these, such as wrong_type or model_failure.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more.")
@click.option("--limit", "-n", type=click.IntRange(0), metavar="N", help="At most N.")
@click.option(
    "--as-test",
    is_flag=True,
    help="Print a pytest that refuses these records again; PIPELINE must be a file.",
)
@options.as_json
@options.broker
@options.logs
def dead_letters(
    name: str,
    version: str | None,
    reason: str | None,
    follow: bool,
    limit: int | None,
    as_test: bool,
    as_json: bool,
    broker: str,
) -> None:
    """Show the records of PIPELINE that were refused, and why; and its champion's failed calls.

    PIPELINE is a name in the log, or a file. The failed calls of another version are in that
    one's own topic: --version V. A table on a terminal is cut to its width; --json shows all of it.
    """
    _require_consistent(name, follow=follow, as_test=as_test, as_json=as_json)
    log = open_broker(broker, read_only=True)
    try:
        manifest = named(log, name)
        topic = _topic(log, manifest, version)
        offsets = {p: log.bounds(topic, p)[0] for p in range(manifest.partitions)}
        seen: set[str] = set()
        records = _letters(read_records(log, topic, offsets, follow=follow), version)
        found = islice(_chosen(records, reason, seen), limit)
        if as_test:
            _print_tests(log, name, found)
        elif as_json:
            for record, _ in found:
                emit(record.value)
                _flush_if(follow)
        else:
            known = settings_in_force(log, manifest).acceptance.features
            _print_table(found, follow, known)
        if limit != 0 and (reason not in seen if reason else not seen):
            there = f"; there are {', '.join(sorted(seen))}" if seen else ""
            which = f" with the reason {reason!r}" if reason else ""
            what = "dead letters" if version is None else f"failed calls of {version}"
            say(f"{manifest.pipeline} has no {what}{which}{there}.")
    finally:
        log.close()


def _require_consistent(name: str, *, follow: bool, as_test: bool, as_json: bool) -> None:
    if as_test and (follow or as_json):
        raise UsageError(
            f"--as-test and {'--follow' if follow else '--json'} at once", attempt="one of them"
        )
    if as_test and not is_spec(name):
        raise UsageError(
            f"{name!r} is a name, and --as-test needs the file that declares the pipeline",
            attempt=f"stream-app dead-letters {name}.py --as-test",
        )


def _print_tests(
    log: Log, spec: str, found: Iterator[tuple[Record, DeadLetter | ModelFailure]]
) -> None:
    """Print one test for each refused record, of the first ones if no limit was given."""
    from stream_app.hosts.written_tests import RECORDS_MAX, refusal_test

    refused = (letter for _, letter in found if isinstance(letter, DeadLetter))
    letters = list(islice(refused, RECORDS_MAX))
    if letters:
        text, errors = refusal_test(log, declared(spec), spec, letters)
        emit(text)
        for error in errors:
            say(f"Left out: {error.problem}.")


def _topic(log: Log, manifest: Manifest, version: str | None) -> str:
    """Return where dead letters are, or the failed calls of a version."""
    topics = Topics(manifest.pipeline)
    if version is None or version == champion(log, manifest, 0):
        return topics.dead_letters
    prefix = topics.shadow("")
    shadows = [t.removeprefix(prefix) for t in log.topics() if t.startswith(prefix)]
    if version not in shadows:
        raise no_version(version, manifest.pipeline, shadows)
    return topics.shadow(version)


def _letters(
    records: Iterator[Record], version: str | None
) -> Iterator[tuple[Record, DeadLetter | ModelFailure]]:
    """Yield what is shown: a shadow's topic has all that it puts out."""
    for record in records:
        output = _decode(record.value)
        if isinstance(output, ModelFailure):
            if version in (None, output.version):
                yield record, output
        elif isinstance(output, DeadLetter) and version is None:
            yield record, output


def _chosen(
    records: Iterator[tuple[Record, DeadLetter | ModelFailure]], reason: str | None, seen: set[str]
) -> Iterator[tuple[Record, DeadLetter | ModelFailure]]:
    for record, letter in records:
        own = letter.reason if isinstance(letter, DeadLetter) else "model_failure"
        seen.add(own)
        if reason is None or own == reason:
            yield record, letter


def _print_table(
    found: Iterator[tuple[Record, DeadLetter | ModelFailure]],
    follow: bool,
    known: Mapping[str, object] | None,
) -> None:
    width = terminal_width()
    # Where there is room for a few characters only, what was wrong says more than the original.
    columns = len(_HEAD) if width is None or width >= WIDE_CHARS else len(_HEAD) - 1
    rows = (_row(letter, known)[:columns] for _, letter in found)
    if follow:  # a table's widths would have to wait for rows that may never come
        for row in rows:
            emit("  ".join(row)[:width])
            flush()
        return
    lines = table_lines(_HEAD[:columns], rows, width=width)
    head = next(lines)
    for i, line in enumerate(lines):
        if i == 0:
            emit(head)
        emit(line)


def _row(letter: DeadLetter | ModelFailure, known: Mapping[str, object] | None) -> tuple[str, ...]:
    source = letter.source
    position = format_position(source.topic, source.partition, source.offset)
    if isinstance(letter, ModelFailure):
        detail = f"{letter.version}: {letter.detail}"
        return position, "model_failure", letter.call, _one_line(detail), letter.observation_id
    hint = refusal_hint(letter.reason, letter.field, letter.original.data, known)
    if letter.copied_from is not msgspec.UNSET:
        hint += f" (from {letter.copied_from})"
    return (
        position,
        letter.reason,
        letter.field or "-",
        _one_line(letter.detail + hint),
        _one_line(letter.original.data)[:ORIGINAL_CHARS_MAX],
    )


def _one_line(text: str) -> str:
    """Keep control characters of somebody's broken record off the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _flush_if(wanted: bool) -> None:
    if wanted:
        flush()
