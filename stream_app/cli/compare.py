"""`stream-app compare`: which of two versions was better, on the same events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_name
from stream_app.cli.progress_bar import progress_in_steps
from stream_app.cli.stdout import emit, emit_json, terminal_width
from stream_app.errors import UsageError
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_names import is_spec

if TYPE_CHECKING:
    from stream_app.core.log import Log
    from stream_app.core.pipeline import Pipeline
    from stream_app.hosts.bounds import Bounds
    from stream_app.hosts.comparison import Comparison


@click.command()
@pipeline_name
@click.argument("v1")
@click.argument("v2")
@options.bounds
@click.option(
    "--by", metavar="key|FEATURE", help="Also for each key, or for parts of a feature's values."
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page that needs nothing else, too.",
)
@options.as_json
@options.broker
@options.logs
def compare(
    name: str,
    v1: str,
    v2: str,
    begin: str,
    end: str,
    by: str | None,
    html: Path | None,
    as_json: bool,
    broker: str,
) -> None:
    """Say whether V2 was better than V1, on the labelled events that both have predicted.

    PIPELINE is a name in the log, or a file, whose metrics are then taken. Reads the log and
    writes nothing to it. The interval is of the difference, and honest about events that resemble
    their neighbours; docs/comparing.md says how.
    """
    from stream_app.hosts.bounds import parse_bounds

    bounds = parse_bounds(begin, end, time.time_ns() // 1_000_000)
    _require_writable(html)
    plan = declared(name) if is_spec(name) else None
    log = open_broker(broker, read_only=True)
    try:
        found = _compared(log, plan, name, v1, v2, bounds, by)
    finally:
        log.close()
    if html is not None:
        from stream_app.cli.comparison_page import write_page

        write_page(html, found)
    if as_json:
        emit_json(found)
        return
    from stream_app.cli.comparison_lines import comparison_lines

    for line in comparison_lines(found, terminal_width()):
        emit(line)
    if html is not None:
        emit(f"\n{html} has the same with pictures.")


def _require_writable(html: Path | None) -> None:
    """Raise before the work what would fail after it."""
    if html is not None and not html.resolve().parent.is_dir():
        raise UsageError(
            f"--html {html}: there is no directory {html.resolve().parent}",
            attempt=f"--html {html.name}, or mkdir -p {html.parent} first",
        )


def _compared(
    log: Log,
    plan: Pipeline | None,
    name: str,
    v1: str,
    v2: str,
    bounds: Bounds,
    by: str | None,
) -> Comparison:
    from stream_app.hosts.comparing import compare as compare_versions
    from stream_app.hosts.manifests import read_manifest, require_same_events

    manifest = read_manifest(log, name if plan is None else plan.name)
    require_same_events(log, manifest)
    with progress_in_steps() as progress:
        return compare_versions(log, plan, manifest, v1, v2, bounds, by=by, progress=progress)
