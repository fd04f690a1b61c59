"""`stream-app explain`: one prediction made again from the log, and what the model knew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.progress_bar import progress_in_steps
from stream_app.cli.stdout import emit, emit_json, flush
from stream_app.errors import DifferenceFound, UsageError
from stream_app.hosts.log_url import open_broker

if TYPE_CHECKING:
    from stream_app.core.log import Log
    from stream_app.core.pipeline import Pipeline
    from stream_app.hosts.explaining import Explanation, RefusedRecord


@click.command()
@pipeline_file
@click.argument("which", metavar="POSITION|ID")
@click.option("--version", metavar="V", help="Of this version, instead of the one downstream read.")
@click.option("--as-test", is_flag=True, help="Print a pytest that makes the prediction again.")
@options.as_json
@options.broker
@options.state
@options.logs
def explain(
    pipeline: str,
    which: str,
    version: str | None,
    as_test: bool,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Make one prediction of PIPELINE's log again, and show what the model knew.

    POSITION is that of the observation, such as flights.events/0@1234 or 0@1234; ID is the
    observation's, or the prediction's own. The state is folded from the nearest checkpoint before
    it; nothing is written to log or state, also while the pipeline runs. Exit code 3 when the
    prediction is not, to the bit, what was published.
    """
    from stream_app.storage.address_space import require_room

    require_room()
    if as_test and as_json:
        raise UsageError("--as-test and --json at once", attempt="one of them")
    plan = declared(pipeline)
    log = open_broker(broker, read_only=True)
    try:
        found = _found(log, plan, which, version, state)
        if as_test:
            _print_test(log, plan, found, pipeline, broker, state)
        elif as_json:
            emit_json(found)
        else:
            from stream_app.cli.explain_view import explained_lines

            for line in explained_lines(found):
                emit(line)
        flush()
        _raise_difference(found)
    finally:
        log.close()


def _found(
    log: Log, plan: Pipeline, which: str, version: str | None, state: str
) -> Explanation | RefusedRecord:
    from stream_app.hosts.explaining import explain as explain_one
    from stream_app.hosts.manifests import read_manifest, require_same_events
    from stream_app.hosts.state_directory import StateDirectory

    manifest = read_manifest(log, plan.name)
    require_same_events(log, manifest)
    with progress_in_steps() as progress:
        return explain_one(
            log,
            plan,
            manifest,
            StateDirectory(Path(state)),
            which,
            version=version,
            progress=progress,
        )


def _print_test(
    log: Log, plan: Pipeline, found: Explanation | RefusedRecord, spec: str, broker: str, state: str
) -> None:
    from stream_app.hosts.explaining import RefusedRecord
    from stream_app.hosts.written_tests import prediction_test, refusal_test

    if isinstance(found, RefusedRecord):
        emit(refusal_test(log, plan, spec, [found.letter])[0])
    else:
        emit(prediction_test(log, plan, found, spec, broker, state))


def _raise_difference(found: Explanation | RefusedRecord) -> None:
    if found.kind == "prediction" and found.same == "differs":
        raise DifferenceFound(
            f"{found.position}: what was published is not what the log gives again. Likely: "
            f"{found.cause_of_difference}.",
            attempt="stream-app replay, which finds the first difference",
        )
