"""`stream-app produce`: append events from JSON lines or CSV."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.csv_options import CsvChoice, csv_options
from stream_app.cli.pipeline_argument import declared, named, pipeline_file
from stream_app.cli.progress_bar import progress_bar
from stream_app.cli.signals import Terminated, held
from stream_app.cli.stderr import say
from stream_app.cli.stdout import emit, emit_json
from stream_app.cli.table import count
from stream_app.counted import counted
from stream_app.errors import SurroundingsError, UsageError
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_names import is_spec

if TYPE_CHECKING:
    from stream_app.core.log import Log
    from stream_app.core.settings import Settings
    from stream_app.hosts.csv_lines import Columns
    from stream_app.hosts.drafts import Draft
    from stream_app.hosts.producing import OnBad, Produced, Producer

_EVENT = '{"id": "1", "ts_ms": 1700000000000, "features": {"a": 0.5}, "label": true}'


@click.command()
@pipeline_file
@click.argument("file", metavar="[FILE]", default="-")
@csv_options
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Events per second."
)
@click.option("--strict", is_flag=True, help="Stop at the first line that is refused.")
@click.option("--send-bad", is_flag=True, help="Send refused lines too: they become dead letters.")
@click.option("--dry-run", is_flag=True, help="Check every line, append nothing.")
@click.option(
    "--partitions", type=click.IntRange(1), metavar="N", help="At the first start: how many."
)
@click.option(
    "--topic",
    metavar="T",
    help="Instead of events: append lines of any JSON to this topic, which intake copies from.",
)
@options.as_json
@options.broker
@options.state
@options.logs
def produce(
    pipeline: str,
    file: str,
    csv: CsvChoice,
    rate: float | None,
    strict: bool,
    send_bad: bool,
    dry_run: bool,
    partitions: int | None,
    topic: str | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Append the events in FILE (by default standard input) to PIPELINE's log.

    PIPELINE is a file, which starts the pipeline if it is new, or the name of one in the log.
    FILE has JSON lines with the fields of an observation (id, ts_ms, features, key, label, meta)
    or a label (id, ts_ms, label, key), or is CSV. Every line passes the same gate as in `run`
    before it is sent; refused ones are named and left out, and the exit code is 2 then. What is
    acknowledged is on disk.
    """
    if topic is not None:
        _produce_to_source(pipeline, file, topic, broker, state, rate=rate, as_json=as_json)
        return
    on_bad = _on_bad(strict, send_bad)
    columns = csv.columns(file)
    from stream_app.hosts.producing import Producer

    with ExitStack() as stack:
        descriptor, name = stack.enter_context(_opened(file))
        log, topic, settings = _destination(pipeline, broker, state, partitions, dry_run)
        if log is not None:
            stack.callback(log.close)
        producer = Producer(log, topic, on_bad=on_bad, rate=rate)
        with _reporting(producer, as_json=as_json, dry_run=dry_run):
            _send_events(producer, descriptor, name, settings, columns)
    _refuse(producer.produced, name, sends_json=columns is None and not dry_run)


def _on_bad(strict: bool, send_bad: bool) -> OnBad:
    if strict and send_bad:
        raise UsageError("--strict and --send-bad contradict each other", attempt="one of them")
    return "stop" if strict else "send" if send_bad else "skip"


@contextmanager
def _reporting(producer: Producer, *, as_json: bool, dry_run: bool) -> Iterator[None]:
    """Tell what was produced, however that ends."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        last = count(producer.produced.last_line)
        say(
            f"Stopped; lines up to {last} are acknowledged with their labels. Going on behind "
            "them loses nothing: what was sent twice is refused as a duplicate."
        )
        raise
    finally:
        _report(producer.produced, as_json=as_json, dry_run=dry_run)


def _refuse(produced: Produced, name: str, *, sends_json: bool) -> None:
    """Raise `UsageError` when lines were refused and not sent."""
    if produced.refused > produced.sent_bad:
        if sends_json and not produced.acknowledged and produced.refused > 1:
            raise UsageError(
                f"{name}: all of its {counted(produced.refused, 'line')} were refused",
                attempt=f"look at what the file is: one event a line is wanted, as {_EVENT}",
            )
        taken = "; the rest was taken" if produced.acknowledged else ""
        raise UsageError(
            f"{name}: refused lines: {count(produced.refused)}{taken}",
            attempt="repair and send just those, or use --send-bad: they become dead letters",
        )


def _produce_to_source(
    pipeline: str,
    file: str,
    topic: str,
    broker: str,
    state: str,
    *,
    rate: float | None,
    as_json: bool,
) -> None:
    """Append lines as they are to one of the topics that the pipeline's intake copies from."""
    from stream_app.hosts.json_lines import plain_drafts
    from stream_app.hosts.producing import Producer
    from stream_app.hosts.registration import register
    from stream_app.hosts.source_copying import source_counts
    from stream_app.hosts.state_directory import StateDirectory

    plan = declared(pipeline)
    if topic not in (known := [source.topic for source in plan.sources]):
        raise UsageError(
            f"{plan.name} declares no intake from {topic}",
            attempt=f"--topic with one of: {', '.join(known) or 'none is declared'}",
        )
    with ExitStack() as stack:
        descriptor, name = stack.enter_context(_opened(file))
        log = open_broker(broker, create=True)
        stack.callback(log.close)
        register(log, plan, StateDirectory(Path(state)).public_keys)
        count = source_counts(log, plan)[topic]
        producer = Producer(log.sources(), topic, rate=rate)
        try:
            _send(producer, descriptor, name, lambda lines: plain_drafts(lines, count))
        finally:
            _report(producer.produced, as_json=as_json, dry_run=False)


@contextmanager
def _opened(file: str) -> Iterator[tuple[int, str]]:
    if file == "-":
        yield sys.stdin.fileno(), "standard input"
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SurroundingsError(
            f"{file} cannot be read: {error.strerror}.", attempt="look at its name: ls -l"
        ) from None
    try:
        yield descriptor, file
    finally:
        os.close(descriptor)


def _destination(
    pipeline: str, broker: str, state: str, partitions: int | None, dry_run: bool
) -> tuple[Log | None, str, Settings]:
    """Return (the log, None in a dry run; the topic of events; the settings of the gate)."""
    from stream_app.core.topics import Topics
    from stream_app.hosts.manifests import settings_in_force

    if dry_run and is_spec(pipeline):
        plan = declared(pipeline)
        return None, Topics(plan.name).events, plan.settings()
    if is_spec(pipeline):
        from stream_app.hosts.registration import register
        from stream_app.hosts.state_directory import StateDirectory

        plan = declared(pipeline)
        log = open_broker(broker, create=True)
        keys = StateDirectory(Path(state)).public_keys
        manifest = register(log, plan, keys, partitions=partitions)
    else:
        log = open_broker(broker)
        manifest = named(log, pipeline)
    settings = settings_in_force(log, manifest)
    if dry_run:
        log.close()
        return None, Topics(manifest.pipeline).events, settings
    return log, Topics(manifest.pipeline).events, settings


def _send_events(
    producer: Producer, descriptor: int, name: str, settings: Settings, columns: Columns | None
) -> None:
    from stream_app.hosts.csv_lines import csv_drafts
    from stream_app.hosts.drafts import EntryGate, labels_in_time
    from stream_app.hosts.json_lines import json_drafts

    gate = EntryGate(settings)

    def drafts(lines: Iterator[bytes]) -> Iterator[Draft]:
        said = 0
        found = (
            json_drafts(lines, gate)
            if columns is None
            else labels_in_time(csv_drafts(lines, columns, gate))
        )
        for draft in found:
            if len(gate.mistyped) > said:
                _say_mistyped(list(gate.mistyped.items())[said:], draft.line)
                said = len(gate.mistyped)
            yield draft

    _send(producer, descriptor, name, drafts)


def _send(
    producer: Producer,
    descriptor: int,
    name: str,
    drafts_of: Callable[[Iterator[bytes]], Iterator[Draft]],
) -> None:
    from stream_app.hosts.line_source import read_lines

    with _progress(descriptor, name) as advance:
        lines = read_lines(descriptor, name, idle=lambda: _flush(producer), moved=_sum(advance))
        try:
            for draft in drafts_of(lines):
                if producer.add(draft):
                    _flush(producer)
                    time.sleep(producer.pause_s())
        except UsageError:
            _flush(producer)  # what came before the line at fault is good
            raise
        _flush(producer)


@contextmanager
def _progress(descriptor: int, name: str) -> Iterator[Callable[[int], None]]:
    if os.isatty(descriptor):
        say("Reading what you type, a line for each event; Ctrl-D ends it. A FILE is named last.")
        yield lambda _done: None  # a bar would write over it
        return
    total = os.fstat(descriptor).st_size or None
    with progress_bar(f"producing {name}", total, of_bytes=True) as advance:
        yield advance


def _say_mistyped(names: list[tuple[str, str]], line: int) -> None:
    """Say once of a feature that nobody declared what it was meant to be: it is sent as it is."""
    for name, meant in names:
        say(
            f"line {line}: feature {name} is not declared, and {meant} is absent: did you mean "
            f"{meant}? Such lines are sent, and said once."
        )


def _flush(producer: Producer) -> None:
    with held():  # so that what is acknowledged is also counted
        producer.flush()


def _sum(advance: Callable[[int], None]) -> Callable[[int], None]:
    done = 0

    def moved(more: int) -> None:
        nonlocal done
        done += more
        advance(done)

    return moved


def _report(produced: Produced, *, as_json: bool, dry_run: bool) -> None:
    for bad in produced.bad:
        field = f"{bad.field}: " if bad.field else ""
        say(f"line {bad.line}: {bad.reason}: {field}{bad.detail}")
    if produced.refused > len(produced.bad):
        say(f"... and {count(produced.refused - len(produced.bad))} more")
    if as_json:
        emit_json(produced)
    elif dry_run:
        emit(f"{counted(produced.last_line, 'line')} read, {count(produced.refused)} refused")
    else:
        emit(f"{counted(produced.acknowledged, 'event')} acknowledged in {produced.topic}")
