"""`stream-app apply`: changed settings into the log, effective from there."""

from __future__ import annotations

from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.stdout import emit, emit_json, fitted_table
from stream_app.core.topics import Topics
from stream_app.hosts.log_url import open_broker
from stream_app.records import format_position


@click.command()
@pipeline_file
@click.option(
    "--accept-environment",
    is_flag=True,
    help="Carry the state over to this River, Python and NumPy.",
)
@click.option("--reason", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@options.by
@options.as_json
@options.broker
@options.state
@options.logs
def apply(
    pipeline: str,
    accept_environment: bool,
    reason: str | None,
    dry_run: bool,
    by: str | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Put PIPELINE's changed settings into its log, in force from there on.

    Everything but the versions' definitions may change: label policy, limits, features, metrics,
    cadences, alert-only monitors. A running `stream-app run` obeys at once.
    """
    plan = declared(pipeline)
    if accept_environment:
        _accept(plan.name, reason, by, broker, state, as_json=as_json)
        return
    from stream_app.hosts.applying import changes, put_into_force
    from stream_app.hosts.state_directory import StateDirectory

    log = open_broker(broker)
    try:
        rows = changes(log, plan)
        places = []
        if rows and not dry_run:
            places = put_into_force(log, plan, StateDirectory(Path(state)), by)
    finally:
        log.close()
    topic = Topics(plan.name).events
    since = [format_position(topic, partition, offset + 1) for partition, offset in places]
    if as_json:
        named = [{"setting": path, "log": old, "file": new} for path, old, new in rows]
        emit_json({"pipeline": plan.name, "changes": named, "in_force_from": since})
        return
    if not rows:
        emit(f"{plan.name}: nothing to apply")
        return
    for line in fitted_table(("SETTING", "THE LOG HAS", "THE FILE HAS"), rows):
        emit(line)
    if dry_run:
        emit("Nothing was changed (--dry-run).")
    else:
        emit(f"In force from {', '.join(since)} on.")


def _accept(
    name: str, reason: str | None, by: str | None, broker: str, state: str, *, as_json: bool
) -> None:
    """Accept this environment, and say from where on."""
    from stream_app.hosts.environments import accept
    from stream_app.hosts.state_directory import StateDirectory

    log = open_broker(broker)
    try:
        places = accept(log, name, StateDirectory(Path(state)), reason, by)
    finally:
        log.close()
    topic = Topics(name).events
    rows = [format_position(topic, partition, offset) for partition, offset in places]
    if as_json:
        emit_json({"pipeline": name, "accepted_at": rows})
        return
    emit(
        f"{name} goes on in this environment from its next start; the order is at "
        f"{', '.join(rows)}. What was learned before may differ in bits from what a replay makes."
    )
