"""`stream-app import`: a file of models into the log, from which a version begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli import options
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.stdout import emit_json, emit_text
from stream_app.cli.table import count, size
from stream_app.core.topics import Topics
from stream_app.hosts.log_url import open_broker
from stream_app.records import format_position

if TYPE_CHECKING:
    from stream_app.core.commit import Manifest
    from stream_app.core.log import Log
    from stream_app.hosts.importing import Imported


@click.command("import")
@pipeline_file
@click.argument("version")
@click.argument("file", metavar="MODEL", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--public-key", metavar="HEX", help="The key that signed MODEL, if it is not one of ours."
)
@click.option("--reason", help="Why, for the record.")
@options.by
@options.as_json
@options.broker
@options.state
@options.logs
def import_model(
    pipeline: str,
    version: str,
    file: Path,
    public_key: str | None,
    reason: str | None,
    by: str | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Let VERSION of PIPELINE begin with the models of a file, MODEL, not untrained.

    PIPELINE declares it with `start="file"`. MODEL is one of `stream-app export` or
    `stream_app.pack_model`. It goes into the log, and a signed record in every partition says that
    VERSION begins from it there; so its state stays a fold of the log alone.
    """
    from stream_app.hosts.importing import import_file
    from stream_app.hosts.registration import register
    from stream_app.hosts.signing_keys import signer_here
    from stream_app.hosts.state_directory import StateDirectory

    plan = declared(pipeline)
    directory = StateDirectory(Path(state))
    log = open_broker(broker, create=True)
    try:
        manifest = register(log, plan, directory.public_keys)
        done = import_file(
            log,
            plan,
            manifest,
            directory,
            lambda: signer_here(log, manifest, directory),
            version,
            file,
            public_key=public_key,
            reason=reason,
            by=by,
        )
        then = _next(log, manifest, pipeline, version, done.places)
    finally:
        log.close()
    _print(plan.name, version, file, done, then, as_json=as_json)


def _next(log: Log, manifest: Manifest, spec: str, version: str, orders: Mapping[int, int]) -> str:
    """Return what a person does next: it depends on who runs the version already."""
    from stream_app.hosts.manifests import commits

    found = commits(log, manifest)
    if all(commit is None for commit in found):
        return f"stream-app run {spec}"
    if all(commit is None or version in commit.versions for commit in found):
        reached = [0 if commit is None else commit.next_offset for commit in found]
        if all(reached[partition] > offset for partition, offset in orders.items()):
            return f"stream-app status {manifest.pipeline}, which shows how it does: it has begun"
        ledger = Topics(manifest.pipeline).ledger
        if all(log.owner(ledger, partition) is None for partition in range(manifest.partitions)):
            return f"stream-app run {spec}, for nobody is at work on it; the start reads the order"
        return f"stream-app status {manifest.pipeline} shows when it has begun"
    return f"stream-app backfill {spec} {version}, then restart stream-app run {spec}"


def _print(
    pipeline: str, version: str, file: Path, done: Imported, then: str, *, as_json: bool
) -> None:
    topic = Topics(pipeline).events
    since = [format_position(topic, *place) for place in _after(done.places)]
    refused = [format_position(topic, *place) for place in sorted(done.refused.items())]
    if as_json:
        emit_json(
            {
                "pipeline": pipeline,
                "version": version,
                "changed": done.changed,
                "restored": done.restored,
                "sha256": done.sha256,
                "learned": done.header.learned,
                "begins_at": since,
                "refused_before": refused,
            }
        )
        return
    again = "" if done.changed else " already; nothing was changed"
    if done.restored:
        again = " already; the log had lost the file, and has it again"
    models = "one model" if done.header.models == 1 else f"{count(done.header.models)} models"
    emit_text(
        f"{version} of {pipeline} begins from {file} at {', '.join(since)}{again} "
        f"({models}, {count(done.header.learned)} examples learned, {size(done.size)})."
    )
    if refused:
        emit_text(
            f"An earlier order, {', '.join(refused)}, was refused and began nothing (stream-app "
            f"dead-letters {pipeline} says why); this one takes its place."
        )
    emit_text(f"Next: {then}.")


def _after(places: Mapping[int, int]) -> list[tuple[int, int]]:
    return [(partition, offset + 1) for partition, offset in sorted(places.items())]
