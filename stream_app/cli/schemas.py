"""`stream-app schemas`: the JSON Schemas of all records."""

from __future__ import annotations

from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.stdout import emit
from stream_app.errors import SurroundingsError, UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--write", metavar="DIR", help="Write DIR/<name>.json for each instead.")
@options.logs
def schemas(name: str | None, write: str | None) -> None:
    """Print the JSON Schemas of all records, or the one of NAME (such as prediction).

    Without NAME they come as one JSON object, by name.
    """
    from stream_app.codec.json_schema import json_schemas, schema_text

    known = json_schemas()
    if name is not None:
        kind = name.replace("-", "_")
        if kind not in known:
            raise UsageError(f"no record is a {name!r}", attempt=f"one of {', '.join(known)}")
        known = {kind: known[kind]}
    if write is not None:
        _write(Path(write), {kind: schema_text(schema) for kind, schema in known.items()})
        return
    emit(schema_text(known if name is None else known[kind]).rstrip())


def _write(directory: Path, texts: dict[str, str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for kind, text in texts.items():
            (directory / f"{kind}.json").write_text(text, "utf-8")
    except OSError as error:
        raise SurroundingsError(
            f"{directory} cannot be written: {error.strerror or error}.",
            attempt="--write with a directory of your own",
        ) from error
    for kind in texts:
        emit(str(directory / f"{kind}.json"))
