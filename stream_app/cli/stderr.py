"""What people read beside the results: notices, errors, and what is being done meanwhile."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from stream_app.cli.wrapping import terminal_width, wrapped

_ERASE = "\x1b[K"
_doing = False


def say(text: str, label: str = "", **style: Any) -> None:
    """Write a sentence, behind a label that has click's style."""
    done()
    label = f"{label} " if label else ""
    first, *rest = wrapped(text, terminal_width(sys.stderr), first=len(label), indent="  ")
    click.secho(label, nl=False, err=True, **style)
    click.echo("\n".join([first, *rest]), err=True)


def doing(what: str) -> None:
    """Show on a terminal what is being done, until anything else is shown: `reading x.py ...`."""
    global _doing  # noqa: PLW0603 - there is one terminal
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return
    _doing = True
    room = (terminal_width(sys.stderr) or 80) - len(" ...") - 1
    # Back to the line's beginning, so that whatever comes next, a user's own print too, covers it.
    sys.stderr.write(f"{_ERASE}{what[:room]} ...\r")
    sys.stderr.flush()


def done() -> None:
    """Take away what `doing` shows."""
    global _doing  # noqa: PLW0603
    if _doing:
        _doing = False
        sys.stderr.write(_ERASE)
        sys.stderr.flush()
