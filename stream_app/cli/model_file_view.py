"""What a file of models says of itself, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stream_app.cli.stdout import labelled_lines
from stream_app.cli.table import count, size
from stream_app.counted import counted
from stream_app.records import format_position

if TYPE_CHECKING:
    from stream_app.core.model_file import ModelHeader


def header_lines(path: Path, header: ModelHeader) -> Iterator[str]:
    """Yield what is in a file, a fact a line."""
    for name, value in _facts(path, header):
        yield from labelled_lines(f"{name:<12}", value, indent=" " * 13)


def _facts(path: Path, header: ModelHeader) -> Iterator[tuple[str, str]]:
    yield "file", f"{path}, {size(header.content_bytes)} of models"
    origin = header.origin
    if origin is not None:
        events = f"{origin.pipeline}.events"
        yield "version", f"{origin.version} of {origin.pipeline}, definition {origin.definition}"
        place = format_position(events, origin.partition, origin.next_offset)
        yield "position", f"before {place} of log {origin.log_id}"
        yield "chain", origin.chain
        yield "state digest", origin.state_digest
    else:
        yield "version", "none: it was trained elsewhere"
    models = f"{count(header.models)} by key" if header.keyed else "1"
    yield "models", f"{models}, {counted(header.learned, 'example')} learned"
    if header.failed is not None:
        yield "failed", header.failed
    rest = [f", {name} {value}" for name, value in header.task.items() if name != "task"]
    yield "task", "".join([str(header.task.get("task")), *rest])
    yield "features", "all" if header.features is None else ", ".join(header.features)
    if header.own:
        yield "your code", ", ".join(header.own)
    env = header.environment
    cpu = " ".join(env.cpu.split()[:2])  # the vector units are in --json
    yield "environment", f"Python {env.python}, River {env.river}, NumPy {env.numpy}, {cpu}"
    yield "created by", header.created_by
    yield "content", header.content_sha256
    yield "signed by", f"{header.key_name} {header.public_key}"
