"""Tables on a terminal: no row is longer than a line, and what tells one row apart stays."""

from __future__ import annotations

import os
import pty
import shlex
from pathlib import Path

from stream_app.cli.table import table_lines
from tests.cli.terminal import PROGRAM, clean_environment

HEAD = ("POSITION", "DETAIL", "ORIGINAL")
ROWS = [("flights.events/0@1234", "expected a number, got a string", "x" * 100)]


def test_a_table_is_cut_to_a_width_from_its_last_column_on() -> None:
    whole = list(table_lines(HEAD, ROWS))
    assert len(whole[1]) == len("  ".join(ROWS[0]))
    wide = list(table_lines(HEAD, ROWS, width=80))
    assert [len(line) for line in wide[1:]] == [80]
    assert wide[1].startswith("  ".join(ROWS[0][:2]))
    assert wide[1].endswith("x…")
    narrow = list(table_lines(HEAD, ROWS, width=60))
    assert [len(line) for line in narrow[1:]] == [60]
    assert narrow[1].startswith(ROWS[0][0])
    assert max(map(len, table_lines(HEAD, ROWS, width=1000))) == len(whole[1])


def test_dead_letters_fit_a_terminal_and_are_whole_in_a_pipe(prepared: Path) -> None:
    lines = _on_a_terminal(prepared, "stty cols 80; dead-letters shop")
    assert [line.split()[0] for line in lines] == ["POSITION", "shop.events/0@300"]
    assert len(lines[1]) == 80
    assert lines[1].endswith("…")


def _on_a_terminal(directory: Path, command: str) -> list[str]:
    """Run a command with a terminal of its own for standard output; returns what that shows."""
    parent, child = pty.openpty()
    size, _, arguments = command.partition("; ")
    shell = f"{size} <&1; exec {shlex.quote(PROGRAM)} {arguments}"
    process = os.posix_spawn(
        "/bin/bash",
        ["bash", "-c", f"cd {shlex.quote(str(directory))}; {shell}"],
        {k: v for k, v in clean_environment().items() if k not in ("COLUMNS", "LINES")},
        file_actions=[(os.POSIX_SPAWN_DUP2, child, 1)],
    )
    os.close(child)
    shown = b""
    while chunk := _read(parent):
        shown += chunk
    os.close(parent)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    return shown.decode().splitlines()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""
