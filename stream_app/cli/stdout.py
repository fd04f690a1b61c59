"""Results on standard output: lines fit for pipes. Everything else goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stream_app.cli import wrapping
from stream_app.cli.stderr import done
from stream_app.cli.table import folded_lines
from stream_app.cli.wrapping import wrapped
from stream_app.errors import SurroundingsError


def emit(line: str | bytes) -> None:
    """Write one line; raises BrokenPipeError once nobody reads any more."""
    done()
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
    return wrapping.terminal_width(sys.stdout)


def emit_text(text: str, *, indent: str = "", **style: Any) -> None:
    """Write sentences, on a terminal in lines of whole words that begin with `indent`."""
    for line in text_lines(text, indent=indent, **style):
        emit(line)


def fitted_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    indent: str = "",
) -> Iterator[str]:
    """Yield a table of few rows, of which nothing is cut, however narrow the terminal is."""
    whole = terminal_width()
    width = None if whole is None else whole - len(indent)
    for line in folded_lines(head, rows, right=right, width=width):
        yield f"{indent}{line}" if line else line


def text_lines(text: str, *, indent: str = "", **style: Any) -> list[str]:
    """Return sentences in lines of whole words, as wide as the terminal, with click's style."""
    lines = wrapped(f"{indent}{text}", terminal_width(), indent=indent or "  ")
    return [styled(line, **style) if style else line for line in lines]


def labelled_lines(label: str, text: str, *, indent: str = "  ", **style: Any) -> list[str]:
    """Return sentences as `text_lines` does, behind a label that has click's style."""
    first, *rest = wrapped(text, terminal_width(), first=len(label) + 1, indent=indent)
    return [f"{styled(label, **style)} {first}", *rest]


def note_lines(note: str) -> list[str]:
    """Return the lines of what a person should know beside the rest."""
    return labelled_lines("Note:", note, fg="yellow")


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
