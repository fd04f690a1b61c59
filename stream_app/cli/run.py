"""`stream-app run`: process a pipeline's events live."""

from __future__ import annotations

import signal
import time

import click

from stream_app.cli import options
from stream_app.cli.logs import fact
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.web.address import Address

INTERRUPTED = 130


@click.command()
@pipeline_file
@options.broker
@options.state
@click.option(
    "--version",
    "versions",
    multiple=True,
    metavar="V",
    help="At the first start: only these versions; may be repeated. The others join by backfill.",
)
@click.option(
    "--drop",
    multiple=True,
    metavar="V",
    help="This version ends with the next record, and comes back by a backfill alone.",
)
@options.workers("the partitions")
@click.option(
    "--partitions",
    type=click.IntRange(1),
    metavar="N",
    help="At the first start: how many. Later it is fixed.  [default: 1]",
)
@click.option("--until-end", is_flag=True, help="Stop at the end that the log has now.")
@options.http
@options.logs
def run(
    pipeline: str,
    broker: str,
    state: str,
    versions: tuple[str, ...],
    drop: tuple[str, ...],
    workers: int,
    partitions: int | None,
    until_end: bool,
    http: Address | None,
) -> int:
    """Predict, evaluate and learn from PIPELINE's events, live, exactly once.

    PIPELINE is file.py, file.py:attribute or module:attribute. Any number of `produce` and
    `consume --follow` may work on the same log meanwhile. Ctrl-C and SIGTERM stop cleanly, a
    second one kills workers that do not; after any end, kill -9 too, the same command goes on
    where it was.
    """
    from stream_app.storage.address_space import require_room

    require_room()  # where imports and threads get no memory, Python hangs or speaks of others
    from stream_app.hosts.collector import collector_at_rest

    with collector_at_rest():  # River, NumPy and SciPy come with it
        from stream_app.cli.run_view import run_view
        from stream_app.cli.run_web import heard
        from stream_app.hosts.stop_flag import StopFlag
        from stream_app.hosts.workers import RunPlan
        from stream_app.hosts.workers import run as run_pipeline

    plan = RunPlan(
        spec=pipeline,
        broker=broker,
        state=state,
        versions=versions or None,
        drop=drop,
        partitions=partitions,
        workers=workers,
        until_end=until_end,
    )
    flag = StopFlag()
    flag.install()
    began = time.monotonic()
    name = declared(pipeline).name  # mistakes are told before anything is said to have started
    with run_view(flag, broker) as view, heard(view.say, http) as say:
        fact("run_started", pipeline=name, declared_in=pipeline, broker=broker, state=state)
        run_pipeline(plan, say, flag)
    seconds = time.monotonic() - began
    fact(
        "run_ended",
        because="end of the log" if flag.signal is None else signal.Signals(flag.signal).name,
        records=view.records(),
        seconds=round(seconds, 1),
    )
    return INTERRUPTED if flag.signal == signal.SIGINT else 0
