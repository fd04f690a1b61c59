"""`stream-app status`: where pipelines stand, and what they counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared
from stream_app.cli.stdout import emit, emit_json, fitted_table, note_lines, styled
from stream_app.cli.table import clock_time, count, duration, size
from stream_app.cli.typed_pipeline import pasteable, remember
from stream_app.hosts.joining import JOIN_RECORDS_MAX
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.manifests import pipelines
from stream_app.hosts.pipeline_names import is_spec
from stream_app.hosts.source_status import SourceStatus
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.status import SEATS_SHOWN_MAX, PartitionStatus, Status
from stream_app.hosts.status import status as status_of
from stream_app.hosts.version_notes import with_declared

if TYPE_CHECKING:
    from stream_app.core.pipeline import Pipeline
    from stream_app.core.seats import SeatChange

_STANDS = ("PARTITION", "AT", "LAG", "EVENT TIME (UTC)", "CHECKPOINT", "OWNER")
_LABELS = ("PARTITION", "OBSERVED", "JOINED", "WAITING", "TIMED OUT", "LATE", "UNKNOWN", "REFUSED")
_INTAKE = ("INTAKE FROM", "AT", "LAG", "COPIED", "REFUSED", "SKIPPED")
_SEATS = ("PROMOTED", "FROM", "WHEN", "BY", "REASON")
_VERSIONS = ("VERSION", "ROLE", "LEARNED", "STATE")


@click.command()
@click.argument("pipeline", metavar="[PIPELINE]", required=False, callback=remember)
@options.as_json
@options.broker
@options.state
@options.logs
def status(pipeline: str | None, as_json: bool, broker: str, state: str) -> None:
    """Show where PIPELINE stands (a name or a file; by default all in the log), running or not.

    With a file, the seeds that were filled in its models are shown too, which of its versions are
    not those of the log, and what may be a mistake.
    """
    plan = declared(pipeline) if pipeline is not None and is_spec(pipeline) else None
    log = open_broker(broker, read_only=True)
    try:
        chosen = pipelines(log) if pipeline is None else [plan.name if plan else pipeline]
        if not chosen and not as_json:
            emit(f"{log.url} has no pipelines yet.")
        for i, name in enumerate(chosen):
            found = status_of(log, name, StateDirectory(Path(state)))
            if plan is not None:
                found = with_declared(found, log, plan)
            notes = [pasteable(note) for note in found.notes]
            found = msgspec.structs.replace(found, notes=notes)
            if as_json:
                seeds = {} if plan is None else {"seeds": plan.seeds()}
                emit_json({**msgspec.to_builtins(found), **seeds})
                continue
            for line in [*([""] if i else []), *_lines(found, plan)]:
                emit(line)
    finally:
        log.close()


def _lines(found: Status, plan: Pipeline | None) -> Iterator[str]:
    log = "" if found.log_bytes is None else f", {size(found.log_bytes)}"
    if found.log_free_bytes:
        log += f", {size(found.log_free_bytes)} of it free"
    yield f"{styled(found.pipeline, bold=True)} in {found.broker}"
    yield f"  log {found.log_id}{log}"
    yield ""
    yield from _table(_STANDS, [_stands(row) for row in found.partitions], right=(0, 1, 2))
    yield ""
    yield from _table(_LABELS, [_labels(row) for row in found.partitions], right=range(8))
    yield ""
    yield from _table(_VERSIONS, _versions(found), right=(2,))
    yield ""
    if seats := _seat_rows(found):
        yield from _table(_SEATS, seats, right=())
        yield ""
    if found.intake:
        yield from _table(_INTAKE, [_source(row) for row in found.intake], right=range(1, 6))
        yield ""
    rows = [(topic.topic, count(topic.offsets), _removed(topic.removed)) for topic in found.topics]
    counted = all(topic.records is not None for topic in found.topics)
    yield from _table(("TOPIC", "RECORDS" if counted else "OFFSETS", ""), rows, right=(1,))
    if plan is not None and (seeds := _seeds(plan)):
        yield ""
        yield from _table(("VERSION", "SEEDED PARAMETER", "SEED"), seeds, right=(2,))
    if found.notes:
        yield ""
    for note in found.notes:
        yield from note_lines(note)


def _table(
    head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: Iterable[int]
) -> Iterator[str]:
    yield from fitted_table(head, rows, right=right, indent="  ")


def _stands(row: PartitionStatus) -> tuple[str, ...]:
    seen = row.checkpoint
    checkpoint = "none here" if row.checkpoint_problem is None else "not readable"
    if seen.next_offset is not None and seen.saved_ms is not None:
        age = duration(time.time() - seen.saved_ms / 1000)
        checkpoint = f"at {count(seen.next_offset)}, {age} ago"
    return (
        str(row.partition),
        count(row.next_offset),
        count(row.lag),
        "-" if row.watermark_ms is None else clock_time(row.watermark_ms).removesuffix(" UTC"),
        checkpoint,
        "nobody" if row.owner is None else row.owner.described,
    )


def _labels(row: PartitionStatus) -> tuple[str, ...]:
    counters = row.counters
    names = ("labels_late", "labels_unknown", "dead_letters")
    return (
        str(row.partition),
        count(counters.get("observations", 0)),
        count(counters.get("labels_joined", 0)),
        count(row.waiting),
        count(counters.get("timed_out", 0)),
        *(count(counters.get(name, 0)) for name in names),
    )


def _versions(found: Status) -> Sequence[tuple[str, ...]]:
    """Return each version's row, its partitions added up."""
    learned: dict[str, int] = {}
    failed: set[str] = set()
    waiting: set[str] = set()
    for row in found.partitions:
        failed |= set(row.failed)
        waiting |= set(row.waiting_for_file)
        for version, examples in row.versions.items():
            learned[version] = learned.get(version, 0) + examples
    seats = [row.champion for row in found.partitions]
    rows = []
    for version, examples in (learned or dict.fromkeys(seats, 0)).items():
        state = "failed" if version in failed else "ok" if learned else "not begun"
        if version in waiting:
            state = "waits for its file"
        rows.append((version, _role(version, seats), count(examples), state))
    return rows + _built(found)


def _role(version: str, seats: Sequence[str]) -> str:
    held = seats.count(version)
    if held in (0, len(seats)):
        return "champion" if held else "shadow"
    return f"champion of {held} of {len(seats)} partitions"


def _built(found: Status) -> list[tuple[str, ...]]:
    """Return the rows of the versions that backfills build, their partitions added up."""
    rows: list[tuple[str, ...]] = []
    for version in sorted({name for row in found.partitions for name in row.backfills}):
        parts = [
            (row, row.backfills[version]) for row in found.partitions if version in row.backfills
        ]
        learned = sum(part.learned for _, part in parts)
        behind = sum(max(0, row.next_offset - part.next_offset) for row, part in parts)
        at_work = any(part.owner is not None for _, part in parts)
        far = any(row.next_offset - part.next_offset > JOIN_RECORDS_MAX for row, part in parts)
        state = "joins at the next start of run"
        if at_work or far:
            state = "at work" if at_work else "too far to be waited for"
        rows.append((version, "backfill", count(learned), f"{count(behind)} behind live; {state}"))
    return rows


def _seat_rows(found: Status) -> list[tuple[str, ...]]:
    """Return the newest changes of the seat, each order once."""
    orders: dict[str, list[tuple[int, SeatChange]]] = {}
    for row in found.partitions:
        for change in row.seats:
            orders.setdefault(change.control, []).append((row.partition, change))
    newest = sorted(orders.values(), key=lambda places: places[0][1].ts_ms)[-SEATS_SHOWN_MAX:]
    return [_seat_row(places, len(found.partitions)) for places in newest]


def _seat_row(places: Sequence[tuple[int, SeatChange]], partitions: int) -> tuple[str, ...]:
    change = places[0][1]
    given = [(number, at) for number, at in places if not at.refused]
    since = ", ".join(f"{number}@{at.since}" for number, at in given[:3])
    if len(given) > 3:
        since += f" and {len(given) - 3} more"
    if len(given) < len(places):
        since += f" (not given in {len(places) - len(given)} of {partitions})"
    when = clock_time(change.ts_ms)
    return change.champion, since.strip() or "nowhere", when, change.by or "-", change.reason


def _source(row: SourceStatus) -> tuple[str, ...]:
    return (
        row.source,
        "-" if row.next_offset is None else count(row.next_offset),
        "-" if row.lag is None else count(row.lag),
        *(count(number) for number in (row.copied, row.refused, row.skipped)),
    )


def _removed(offsets: int) -> str:
    return f"and {count(offsets)} removed by retention" if offsets else ""


def _seeds(plan: Pipeline) -> list[tuple[str, ...]]:
    return [
        (version, path, str(seed))
        for version, seeds in plan.seeds().items()
        for path, seed in seeds.items()
    ]
