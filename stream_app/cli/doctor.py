"""`stream-app doctor`: what is wrong around a pipeline, and how to repair it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.stdout import emit, emit_rows, labelled_lines, styled
from stream_app.cli.typed_pipeline import pasteable
from stream_app.core.upkeep import Finding
from stream_app.counted import counted
from stream_app.hosts.doctor import Diagnosis
from stream_app.hosts.doctor import doctor as look_over
from stream_app.hosts.keepers import keeper_of
from stream_app.hosts.pipeline_names import is_spec

NEEDS_PERSON = 5
_ROLES = ("producer", "worker", "reader")


@click.command()
@pipeline_file
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="worker",
    show_default=True,
    help="What the present credentials are for.",
)
@click.option("--acls", is_flag=True, help="Print the commands that allow what each role needs.")
@click.option("--producer-principal", metavar="P", default="User:producer", show_default=True)
@click.option("--worker-principal", metavar="P", default="User:worker", show_default=True)
@click.option("--reader-principal", metavar="P", default="User:reader", show_default=True)
@options.as_json
@options.broker
@options.logs
def doctor(
    pipeline: str,
    role: str,
    acls: bool,
    producer_principal: str,
    worker_principal: str,
    reader_principal: str,
    as_json: bool,
    broker: str,
) -> int:
    """Find what is wrong around PIPELINE (a file, or a name that the log has); changes nothing.

    Looks at the log's topics, settings, rights and clock, and at its newest events. Each finding
    says what to type. The exit code is 5 when something needs a person.
    """
    plan = declared(pipeline) if is_spec(pipeline) else None
    if acls:
        principals = dict(
            zip(_ROLES, (producer_principal, worker_principal, reader_principal), strict=True)
        )
        name = pipeline if plan is None else plan.name
        sources = [] if plan is None else [source.topic for source in plan.sources]
        for line in keeper_of(broker).acl_commands(name, principals, sources):
            emit(line)
        return 0
    found = look_over(broker, pipeline, plan, role=role)
    emit_rows(found.findings, _lines(found), as_json=as_json)
    return NEEDS_PERSON if found.problems else 0


def _lines(found: Diagnosis) -> Iterator[str]:
    for finding in found.findings:
        yield from _finding(finding)
    notes = len(found.findings) - found.problems
    summary = f"{counted(found.problems, 'problem')}, {counted(notes, 'note')}"
    yield f"{styled(found.pipeline, bold=True)} in {found.broker}: {summary}"


def _finding(finding: Finding) -> Iterator[str]:
    problem = finding.level == "problem"
    label = "Problem" if problem else "Note"
    told = f"{finding.check}: {finding.where}: {finding.what}."
    yield from labelled_lines(label, told, fg="red" if problem else "yellow", bold=problem)
    yield from labelled_lines("  Try:", pasteable(finding.attempt), fg="green")
