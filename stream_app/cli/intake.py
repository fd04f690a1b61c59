"""`stream-app intake`: copy events from other topics into a pipeline's log, exactly once."""

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
@options.workers("the source partitions, on Kafka")
@click.option("--until-end", is_flag=True, help="Stop at the ends that the sources have now.")
@click.option(
    "--skip-to",
    multiple=True,
    metavar="TOPIC/PARTITION@OFFSET",
    help="First set a source partition's position, whatever it was; may be repeated.",
)
@options.http
@options.logs
def intake(
    pipeline: str,
    broker: str,
    state: str,
    workers: int,
    until_end: bool,
    skip_to: tuple[str, ...],
    http: Address | None,
) -> int:
    """Copy what PIPELINE declares as intake into its log of events, exactly once.

    PIPELINE is file.py, file.py:attribute or module:attribute. Records that cannot be mapped
    become dead letters. Ctrl-C and SIGTERM end it after the batch at hand; after any end, kill -9
    too, the same command goes on where it was. On Kafka several of them share the sources.
    """
    from stream_app.cli.intake_view import intake_view
    from stream_app.cli.run_web import heard
    from stream_app.hosts.intake import IntakePlan
    from stream_app.hosts.intake import intake as copy
    from stream_app.hosts.stop_flag import StopFlag
    from stream_app.web.intake_metrics import intake_registry_of

    plan = IntakePlan(
        spec=pipeline,
        broker=broker,
        state=state,
        workers=workers,
        until_end=until_end,
        skip_to=skip_to,
    )
    flag = StopFlag()
    flag.install()
    began = time.monotonic()
    name = declared(pipeline).name  # mistakes are told before anything is said to have started
    with intake_view() as view, heard(view.say, http, intake_registry_of) as say:
        fact("intake_started", pipeline=name, declared_in=pipeline, broker=broker)
        copy(plan, say, flag)
    fact(
        "intake_ended",
        because="end of the sources" if flag.signal is None else signal.Signals(flag.signal).name,
        records=view.records(),
        seconds=round(time.monotonic() - began, 1),
    )
    return INTERRUPTED if flag.signal == signal.SIGINT else 0
