"""Results on standard output: lines fit for pipes. Everything else goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from stream_app.errors import SurroundingsError


def emit(line: str | bytes) -> None:
    """Write one line; raises BrokenPipeError once nobody reads any more."""
    data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")
    try:
        sys.stdout.buffer.write(data + b"\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(error) from error


def emit_json(value: object) -> None:
    """Write a value as one line of JSON."""
    import msgspec  # here, because --help has no use for it

    emit(msgspec.json.encode(value))


def emit_rows(rows: Iterable[object], lines: Iterable[str], *, as_json: bool) -> None:
    """Write what a command found: each row as JSON for programs, or the lines for people."""
    if as_json:
        for row in rows:
            emit_json(row)
    else:
        for line in lines:
            emit(line)


def styled(text: str, **style: Any) -> str:
    """Return a text with click's style where a terminal shows it, plain elsewhere."""
    import click

    return click.style(text, **style) if sys.stdout.isatty() else text


def terminal_width() -> int | None:
    """Return how many characters a line of standard output has; None where it is no terminal."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def flush() -> None:
    """Hand on what was written so far."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard()
        raise _unwritable(error) from error


def discard() -> None:
    """Let further output go nowhere, also what the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _unwritable(error: OSError) -> SurroundingsError:
    return SurroundingsError(
        f"standard output cannot be written: {error.strerror or error}.",
        attempt="another place for the output: > FILE",
    )
