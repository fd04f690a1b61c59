"""A comparison as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from stream_app.cli.sparkline import sparkline
from stream_app.cli.stdout import note_lines, text_lines
from stream_app.cli.table import count, table_lines
from stream_app.cli.typed_pipeline import pasteable
from stream_app.counted import counted
from stream_app.hosts.comparison import Comparison, better_version, shown
from stream_app.learning.paired import MetricFigures

SLICES_SHOWN = 20
DISAGREEMENTS_SHOWN = 5


def comparison_lines(found: Comparison, width: int | None) -> Iterator[str]:
    """Yield the verdict first, then what it rests on."""
    yield from text_lines(_sentence(found.verdict), bold=True)
    yield ""
    yield from _metrics(found, width)
    yield ""
    yield from _over_time(found)
    if found.by is not None:
        yield ""
        yield from _slices(found, width)
    yield ""
    yield from _disagreements(found, width)
    yield ""
    yield from _counted(found)


def _sentence(text: str) -> str:
    """Begin a sentence: a version's name keeps its letters."""
    return f"{text[0].upper()}{text[1:]}." if text.startswith("no ") else f"{text}."


def _metrics(found: Comparison, width: int | None) -> Iterator[str]:
    head = ("  METRIC", found.a, found.b, "DIFFERENCE", "95 % INTERVAL", "BETTER")
    rows = [(f"  {row.name}", *_figures(row), _better(row, found)) for row in found.metrics]
    yield from table_lines(head, rows, right=(1, 2, 3), width=width)
    for row in found.metrics:
        if row.why_no_interval is not None:
            yield from text_lines(f"{row.name} has no interval: {row.why_no_interval}", indent="  ")


def _figures(row: MetricFigures) -> tuple[str, ...]:
    difference = shown(row.difference, signed=True)
    return shown(row.a), shown(row.b), difference, interval(row)


def _better(row: MetricFigures, found: Comparison) -> str:
    return "" if row.low is None else better_version(row, found.a, found.b) or "cannot say"


def interval(row: MetricFigures) -> str:
    """Write an interval; a dash for none."""
    if row.low is None:
        return "-"
    return f"{shown(row.low, signed=True)} to {shown(row.high, signed=True)}"


def _over_time(found: Comparison) -> Iterator[str]:
    """One line for each metric, all between the largest differences to both sides of zero."""
    if not found.spans:
        return
    first, last = (moment(found.spans[i].since_ms) for i in (0, -1))
    yield f"  {found.b} LESS {found.a}, {first} to {last}, zero between ▄ and ▅"
    rows = []
    for row in found.metrics:
        pairs = [span.metrics.get(row.name, (None, None)) for span in found.spans]
        values = [None if a is None or b is None else b - a for a, b in pairs]
        known = [value for value in values if value is not None]
        if known:
            far = max(map(abs, known))
            line = sparkline(values, low=-far, high=far)
            ends = f"{shown(min(known), signed=True)} to {shown(max(known), signed=True)}"
            rows.append(
                (
                    f"  {row.name}",
                    line,
                    ends,
                    "higher is better" if row.bigger_is_better else "lower is better",
                )
            )
    if rows:
        yield from list(table_lines(("", "", "", ""), rows))[1:]


def moment(ms: int) -> str:
    """Write event time in UTC, to the minute."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def _slices(found: Comparison, width: int | None) -> Iterator[str]:
    name = found.metrics[0].name
    yield f"  {name} by {found.by}"
    head = (f"  {found.by}", "EVENTS", found.a, found.b, "DIFFERENCE", "95 % INTERVAL", "BETTER")
    rows = [
        (
            f"  {part.value}",
            count(part.examples),
            *_figures(figures),
            better_version(figures, found.a, found.b) or "-",
        )
        for part in found.slices[:SLICES_SHOWN]
        for figures in part.metrics
        if figures.name == name
    ]
    if not rows:
        yield from text_lines(
            f"{name} is not made of sums, so there is none of a part of the events", indent="  "
        )
        return
    yield from table_lines(head, rows, right=(1, 2, 3, 4), width=width)
    if len(found.slices) > SLICES_SHOWN:
        yield f"  and {len(found.slices) - SLICES_SHOWN} more, see --json or --html"


def _disagreements(found: Comparison, width: int | None) -> Iterator[str]:
    rows = found.disagreements[:DISAGREEMENTS_SHOWN]
    if not rows:
        yield f"  {found.a} and {found.b} never differ in {found.loss}."
        return
    head = ("  LARGEST DIFFERENCES", "ID", "KEY", "LABEL", found.a, found.b)
    cells = [
        (
            f"  {short_position(row.position)}",
            row.observation_id,
            row.key,
            word(row.label),
            said(row.prediction_a, row.probability_a),
            said(row.prediction_b, row.probability_b),
        )
        for row in rows
    ]
    yield from table_lines(head, cells, width=width)
    yield f"  Try: {explain(found)}"


def explain(found: Comparison) -> str:
    """Return the command that shows what both knew at the first event; it takes the file."""
    place = short_position(found.disagreements[0].position)
    return pasteable(f"stream-app explain FILE {place} --version {found.b}")


def short_position(position: str) -> str:
    """Return a position without its topic, which every command of a pipeline takes as well."""
    return position.rpartition("/")[2]


def word(value: object) -> str:
    """Write a label or a prediction."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown(value) if isinstance(value, float) else str(value)


def said(prediction: object, probability: float | None) -> str:
    """Write a prediction, with its probability if it has one."""
    text = word(prediction)
    return text if probability is None else f"{text} {probability:.3f}"


def _counted(found: Comparison) -> Iterator[str]:
    left_out = found.counted
    places = ", ".join(f"{p.partition}@{p.begin} to {p.end}" for p in found.partitions)
    what = f"{counted(left_out.compared, 'event')} of {found.pipeline}.events"
    yield from text_lines(f"Compared {what}, {places}.", indent="  ")
    left = [
        (left_out.unlabelled, "with no label by now"),
        (left_out.only_a, f"predicted by {found.a} alone"),
        (left_out.only_b, f"predicted by {found.b} alone"),
        (left_out.unscored_a, f"for which {found.a} said null"),
        (left_out.unscored_b, f"for which {found.b} said null"),
    ]
    told = [f"{count(n)} {why}" for n, why in left if n]
    if told:
        yield from text_lines(f"Left out: {'; '.join(told)}.", indent="  ")
    for note in found.notes:
        yield from note_lines(note)
