"""A comparison as one HTML file that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from stream_app.cli.comparison_lines import explain, interval, moment, said, word
from stream_app.cli.svg_charts import Bar, Point, differences_over_time, intervals
from stream_app.cli.table import count
from stream_app.counted import counted
from stream_app.errors import SurroundingsError
from stream_app.hosts.comparison import Comparison, better_version, shown
from stream_app.learning.paired import MetricFigures

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --dim: #66717d; --line: #d5dbe1; --paper: #fff;
  --good: #0b7285; --bad: #b3541e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --dim: #98a3ae; --line: #39424c;
  --paper: #14191f; --good: #4cc3d9; --bad: #f0955c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.1rem; font-weight: 500; color: var(--dim); margin: 0; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
.verdict { font-size: 1.55rem; line-height: 1.3; font-weight: 600; margin: .3rem 0 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: left; font-weight: 500; color: var(--dim); font-size: .85rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
.n { text-align: right; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
p, li { max-width: 44rem; } .dim { color: var(--dim); font-size: .9rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 12px; }
"""


def write_page(path: Path, found: Comparison) -> None:
    """Write the page; raises `SurroundingsError` where that cannot be done."""
    try:
        path.write_text("\n".join(_page(found)) + "\n", encoding="utf-8", errors="replace")
    except OSError as error:
        raise SurroundingsError(
            f"{path} cannot be written: {error.strerror or error}.",
            attempt="--html where there is room and this user may write",
        ) from error


def _page(found: Comparison) -> Iterator[str]:
    title = escape(f"{found.pipeline}: {found.a} and {found.b}")
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f'<h1>{title}</h1>\n<p class="verdict">{escape(found.verdict)}</p>'
    yield from _metrics(found)
    yield from _over_time(found)
    yield from _slices(found)
    yield from _disagreements(found)
    yield from _rests_on(found)
    yield "</body>\n</html>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Return a table of texts, each escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        made = (
            f'<{tag} class="n">{escape(cell)}</{tag}>'
            if i in right
            else f"<{tag}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    lines = [row(head, "th"), *(row(cells, "td") for cells in rows)]
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _figures(row: MetricFigures, found: Comparison) -> list[str]:
    winner = better_version(row, found.a, found.b) or "cannot say"
    return [
        shown(row.a),
        shown(row.b),
        shown(row.difference, signed=True),
        interval(row),
        winner if row.low is not None else row.why_no_interval or "",
    ]


def _metrics(found: Comparison) -> Iterator[str]:
    head = ["Metric", found.a, found.b, "Difference", "95 % interval", "Better"]
    yield _table(head, [[row.name, *_figures(row, found)] for row in found.metrics], (1, 2, 3))


def _over_time(found: Comparison) -> Iterator[str]:
    for row in found.metrics:
        points = [
            Point(moment(span.since_ms), b - a, counted(span.examples, "event"))
            for span in found.spans
            for a, b in [span.metrics.get(row.name, (None, None))]
            if a is not None and b is not None
        ]
        if len(points) > 1:
            way = "above the line" if row.bigger_is_better else "below the line"
            title = f"{row.name}: {found.b} less {found.a}, over event time"
            yield f"<h2>{escape(title)}</h2>"
            yield f'<p class="dim">{escape(found.b)} is better where a bar is {way}.</p>'
            yield differences_over_time(points, bigger_is_better=row.bigger_is_better)


def _slices(found: Comparison) -> Iterator[str]:
    if found.by is None:
        return
    head = [found.by, "Events", found.a, found.b, "Difference", "95 % interval", "Better"]
    for metric in found.metrics:
        rows = [
            (part, row) for part in found.slices for row in part.metrics if row.name == metric.name
        ]
        if not rows:
            continue
        yield f"<h2>{escape(metric.name)} by {escape(found.by)}</h2>"
        bars = [
            Bar(part.value, row.difference, row.low, row.high)
            for part, row in rows
            if row.difference is not None and row.low is not None and row.high is not None
        ]
        if bars:
            yield intervals(bars, bigger_is_better=metric.bigger_is_better)
        cells = [[part.value, count(part.examples), *_figures(row, found)] for part, row in rows]
        yield _table(head, cells, (1, 2, 3, 4))


def _disagreements(found: Comparison) -> Iterator[str]:
    if not found.disagreements:
        return
    yield f"<h2>Largest differences in {escape(found.loss)}</h2>"
    head = ["Position", "Id", "Key", "Event time", "Label", found.a, found.b]
    rows = [
        [
            row.position,
            row.observation_id,
            row.key,
            moment(row.ts_ms),
            word(row.label),
            said(row.prediction_a, row.probability_a),
            said(row.prediction_b, row.probability_b),
        ]
        for row in found.disagreements
    ]
    yield _table(head, rows, ())
    what = escape(explain(found))
    yield f"<p>What a model knew then: <code>{what}</code></p>"


def _rests_on(found: Comparison) -> Iterator[str]:
    counted = found.counted
    rows = [
        ("compared", counted.compared),
        ("left out: no label by now", counted.unlabelled),
        (f"left out: predicted by {found.a} alone", counted.only_a),
        (f"left out: predicted by {found.b} alone", counted.only_b),
        (f"left out: {found.a} said null", counted.unscored_a),
        (f"left out: {found.b} said null", counted.unscored_b),
    ]
    yield "<h2>What it rests on</h2>"
    yield _table(["Events", ""], [(name, count(n)) for name, n in rows], (1,))
    places = ", ".join(
        f"{p.partition}@{p.begin} to {p.partition}@{p.end}" for p in found.partitions
    )
    where = escape(f"{found.pipeline}.events {places} in {found.broker}.")
    method = "Intervals: 95 %, by leaving out one block of consecutive events after the other."
    yield f'<p class="dim">{where} {method}</p>'
    if found.notes:
        yield "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in found.notes) + "</ul>"
