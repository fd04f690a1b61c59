"""`stream-app inspect`: what is in a file of models, without loading one."""

from __future__ import annotations

from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.model_file_view import header_lines
from stream_app.cli.stdout import emit, emit_json, flush


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--public-key", metavar="HEX", help="Whose key it has to be signed with.")
@options.as_json
@options.state
@options.logs
def inspect(file: Path, public_key: str | None, as_json: bool, state: str) -> None:
    """Show what is in a FILE of stream-app export, and check all of it; no model is loaded.

    Exit code 5 unless it is whole and signed by a key of the state directory, or by --public-key.
    """
    import msgspec

    from stream_app.hosts.model_files import opened_model_file, require_trusted
    from stream_app.hosts.state_directory import StateDirectory

    with opened_model_file(file) as (header, entries):
        if as_json:
            emit_json({"file": str(file), **msgspec.to_builtins(header)})
        else:
            for line in header_lines(file, header):
                emit(line)
        flush()
        for _ in entries():
            pass
        require_trusted(header, file, public_key, StateDirectory(Path(state)))
