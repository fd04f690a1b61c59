"""`stream-app retain`: old outputs out of the embedded log."""

from __future__ import annotations

from datetime import timedelta

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import named, pipeline_name
from stream_app.cli.stdout import emit_rows, fitted_table
from stream_app.cli.table import count
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.retention import delete_outputs


@click.command()
@pipeline_name
@click.option(
    "--days",
    metavar="N",
    type=click.FloatRange(0),
    required=True,
    help="Keep what was put out in so many last days; delete what is older, for good.",
)
@options.as_json
@options.broker
@options.logs
def retain(name: str, days: float, as_json: bool, broker: str) -> None:
    """Delete old outputs of PIPELINE (a name in the log, or a file), also while it runs.

    Predictions, evaluations, alerts and dead letters; never events, of which state is made. The
    log's file does not shrink: what comes next takes the room. On Kafka topics have settings for
    this.
    """
    log = open_broker(broker)
    try:
        pipeline = named(log, name).pipeline
        rows = delete_outputs(log, pipeline, timedelta(days=days))
    finally:
        log.close()
    cells = [(row.topic, count(row.deleted), count(row.kept)) for row in rows]
    lines = fitted_table(("TOPIC", "DELETED", "KEPT"), cells, right=(1, 2))
    emit_rows(rows, lines, as_json=as_json)
