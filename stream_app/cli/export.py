"""`stream-app export`: a version's models into one signed file."""

from __future__ import annotations

from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.model_file_view import header_lines
from stream_app.cli.pipeline_argument import declared, pipeline_file
from stream_app.cli.progress_bar import progress_bar
from stream_app.cli.stdout import emit, emit_json, note_lines
from stream_app.counted import counted
from stream_app.hosts.log_url import open_broker


@click.command()
@pipeline_file
@click.argument("version")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--at",
    metavar="POSITION|NAME|latest",
    default="latest",
    show_default=True,
    help="Before the record there (0@1234), at a kept checkpoint, or at the newest one.",
)
@click.option("--partition", type=click.IntRange(0), metavar="N", help="Whose models.")
@options.as_json
@options.broker
@options.state
@options.logs
def export(
    pipeline: str,
    version: str,
    file: Path,
    at: str,
    partition: int | None,
    as_json: bool,
    broker: str,
    state: str,
) -> None:
    """Write the models of a VERSION of PIPELINE into FILE, signed with the key that is here.

    `stream_app.load_model(FILE)` gives a River model back anywhere: what it predicts is, digit for
    digit, what live says next from that position. Nothing is written to log or state, also while
    the pipeline runs.
    """
    from stream_app.hosts.exporting import export as export_one
    from stream_app.hosts.manifests import read_manifest, require_same_events
    from stream_app.hosts.state_directory import StateDirectory
    from stream_app.storage.address_space import require_room

    require_room()
    plan = declared(pipeline)
    log = open_broker(broker, read_only=True)
    try:
        manifest = read_manifest(log, plan.name)
        require_same_events(log, manifest)
        with progress_bar("learning", None) as learned:
            done = export_one(
                log,
                plan,
                manifest,
                StateDirectory(Path(state)),
                version,
                file,
                at=at,
                partition=partition,
                progress=lambda folded, _total: learned(folded),
            )
    finally:
        log.close()
    if as_json:
        emit_json({"file": str(file), **_plain(done.header), "notes": done.notes})
        return
    for line in header_lines(file, done.header):
        emit(line)
    source = "the first record" if done.checkpoint is None else str(done.checkpoint)
    emit(f"made from {source}" + (f" and {counted(done.folded, 'record')}" if done.folded else ""))
    for note in done.notes:
        for line in note_lines(note):
            emit(line)


def _plain(header: object) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(header)
    return fields
