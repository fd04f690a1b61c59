"""`stream-app replay`: fold the log again and compare with what was published."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.progress_bar import progress_bar
from stream_app.cli.stdout import emit, emit_json
from stream_app.cli.table import count, table_lines
from stream_app.errors import DifferenceFound
from stream_app.hosts.log_url import open_broker

if TYPE_CHECKING:
    from stream_app.core.commit import Manifest
    from stream_app.core.log import Log
    from stream_app.core.pipeline import Pipeline
    from stream_app.hosts.replay import ReplayReport
    from stream_app.hosts.stop_flag import StopFlag

SHOWN_CHARS_MAX = 300


@click.command()
@pipeline_file
@click.option("--version", metavar="V", help="Only this version, also one that a backfill builds.")
@options.as_json
@options.broker
@options.logs
def replay(pipeline: str, version: str | None, as_json: bool, broker: str) -> int:
    """Fold PIPELINE's log again from its origin, in a fresh state, and compare every output.

    Key, value and headers of all outputs, state digests among them, must equal what live has
    published. Writes nothing to the log. Exit code 3 when there is a difference.
    """
    from stream_app.storage.address_space import require_room

    require_room()
    from stream_app.hosts.manifests import read_manifest, require_same_events
    from stream_app.hosts.stop_flag import StopFlag

    plan = declared(pipeline)
    flag = StopFlag()
    flag.install()
    log = open_broker(broker, read_only=True)
    try:
        manifest = read_manifest(log, plan.name)
        require_same_events(log, manifest)
        reports = []
        for partition in range(manifest.partitions):
            if not flag():
                reports.append(_replayed(log, plan, manifest, partition, version, flag))
                _print(reports[-1], plan.name, as_json=as_json)
        _raise_difference(log, plan.name, reports)
    finally:
        log.close()
    return 130 if flag.signal == signal.SIGINT else 0


def _replayed(
    log: Log,
    plan: Pipeline,
    manifest: Manifest,
    partition: int,
    version: str | None,
    flag: StopFlag,
) -> ReplayReport:
    from stream_app.hosts.manifests import committed
    from stream_app.hosts.replay import replay as replay_partition

    commit = committed(log, plan.name, partition)
    total = 0 if commit is None else commit.next_offset - manifest.origins[partition]
    with progress_bar(f"replaying {plan.name}/{partition}", total) as advance:
        return replay_partition(
            log,
            plan,
            manifest,
            partition,
            version=version,
            progress=lambda done, _total: advance(done),
            stopped=flag,
        )


def _print(report: ReplayReport, name: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(report)
        return
    if report.difference is not None:
        return
    emit(
        f"{name}/{report.partition}: no difference in {count(report.records)} records folded "
        f"again, up to offset {count(report.next_offset)}; {report.digests} state digests equal"
    )
    rows = [(f"  {topic}", count(number)) for topic, number in report.outputs.items()]
    for line in table_lines(("  TOPIC", "COMPARED"), rows, right=[1]) if rows else ():
        emit(line)
    if report.skipped:
        emit(f"  {count(report.skipped)} outputs are gone by retention and were not compared")
    if report.not_compared:
        emit(f"  not compared: {', '.join(report.not_compared)}")


def _raise_difference(log: Log, name: str, reports: list[ReplayReport]) -> None:
    from stream_app.hosts.manifests import committed
    from stream_app.hosts.replay import likely_cause

    for report in reports:
        if report.difference is None:
            continue
        found = report.difference
        commit = committed(log, name, report.partition)
        cause = "unknown" if commit is None else likely_cause(commit)
        raise DifferenceFound(
            f"{found.position}, caused by {found.source}, differs in {found.field}: published "
            f"{_shown(found.published)}, recomputed {_shown(found.recomputed)}. Likely: {cause}.",
            attempt=f"stream-app consume {found.position.partition('/')[0]} --from "
            f"{found.position} --limit 1 to see what is there",
        )


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value if len(value) <= SHOWN_CHARS_MAX else f"{value[:SHOWN_CHARS_MAX]}..."
