"""Sentences in lines that fit a terminal; a command in them stays on one line, to be pasted."""

from __future__ import annotations

import os
import re
from typing import TextIO

# What is typed: from the program's name on, up to a comma, a full stop or a word of the sentence.
_WORDS_AFTER = (
    "which|to|for|and|or|then|shows|tells|says|names|builds|goes|begins|makes|prints|first"
)
_COMMAND = re.compile(
    r"(?:stream-app|pip install|--\w[\w-]*)"
    # Of an option that only is named, as in "--from 9: no such place", what comes then is prose.
    rf"(?:(?<!:) (?:\"[^\"]*\"|'[^']*'|(?!(?:{_WORDS_AFTER})\b)[^\s,;()]+))+"
)
_HELD = "\0"


def terminal_width(stream: TextIO | None) -> int | None:
    """Return how many characters a line of the stream has; None where it is no terminal.

    As elsewhere, COLUMNS has the last word.
    """
    try:
        if stream is None or not stream.isatty():
            return None
        given = os.environ.get("COLUMNS", "")
        columns = int(given) if given.isdecimal() else 0
        return columns or os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def wrapped(text: str, width: int | None, *, first: int = 0, indent: str = "") -> list[str]:
    """Return lines of whole words no longer than `width`; the text as it is without one.

    `first` characters of the first line are taken already, and `indent` begins all others. What is
    one command or one word is never cut, however long it is: the terminal does that, and what is
    copied from there is whole.
    """
    if width is None:
        return [text]
    import textwrap

    held = _COMMAND.sub(lambda found: found[0].replace(" ", _HELD), text)
    lines = [
        line
        for paragraph in held.split("\n")
        for line in textwrap.wrap(
            paragraph,
            width,
            initial_indent="" if first == 0 else " " * first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [""]
    ]
    lines[0] = lines[0][first:]
    return [line.replace(_HELD, " ") for line in lines]
