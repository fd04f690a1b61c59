"""`stream-app topics`: what a pipeline needs in its log, and what is there."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.stdout import emit_rows, fitted_table, styled
from stream_app.cli.typed_pipeline import pasteable
from stream_app.hosts.pipeline_names import is_spec
from stream_app.hosts.topic_report import TopicReport, TopicRow, topics_made, topics_of

NEEDS_PERSON = 5
_HEAD = ("TOPIC", "PARTITIONS", "REPLICAS", "SETTINGS", "STATE")


@click.command()
@pipeline_file
@click.option("--create", is_flag=True, help="Make what is missing; what is there stays as it is.")
@click.option(
    "--partitions", type=click.IntRange(1), metavar="N", help="Of new topics.  [default: 1]"
)
@click.option(
    "--replication",
    type=click.IntRange(1),
    metavar="N",
    help="Of new topics.  [default: 3, or every broker]",
)
@options.as_json
@options.broker
@options.logs
def topics(
    pipeline: str,
    create: bool,
    partitions: int | None,
    replication: int | None,
    as_json: bool,
    broker: str,
) -> int:
    """Show the topics of PIPELINE (a file, or a name that the log has) and what is amiss with them.

    On Kafka they are made by `--create`, before the pipeline's first start. The embedded log makes
    them by itself. What `--create` finds there differently is left alone and named, and the exit
    code is 5 then.
    """
    if create:
        report = topics_made(
            broker,
            pipeline,
            declared(pipeline),
            partitions=partitions,
            replication=replication,
        )
    else:
        plan = declared(pipeline) if is_spec(pipeline) else None
        report = topics_of(broker, pipeline, plan)
    emit_rows(report.rows, _lines(report), as_json=as_json)
    return NEEDS_PERSON if create and report.differs else 0


def _lines(report: TopicReport) -> Iterator[str]:
    yield f"{styled(report.pipeline, bold=True)} in {report.broker}"
    yield ""
    rows = [_cells(row) for row in report.rows]
    yield from fitted_table(_HEAD, rows, right=(1, 2), indent="  ")
    yield ""
    for remedy in report.remedies:
        yield f"{styled('Differs:', fg='yellow')} {remedy}"
    if report.by_themselves:
        yield "This log makes its topics by itself, at the pipeline's first start."
    for command in report.next_commands:
        yield f"{styled('Next:', fg='green')} {pasteable(command)}"


def _cells(row: TopicRow) -> tuple[str, ...]:
    return (
        row.topic,
        "-" if row.partitions is None else str(row.partitions),
        "-" if row.replication is None else str(row.replication),
        ", ".join(_setting(*each) for each in row.settings.items()) or "-",
        row.state,
    )


def _setting(name: str, value: str) -> str:
    """Write a setting whose value says it all without its name."""
    plain = name in {"message.timestamp.type", "cleanup.policy"}
    return value if plain else f"{name}={value}"
