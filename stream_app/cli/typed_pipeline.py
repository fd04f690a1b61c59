"""Advice that can be pasted: the pipeline's file as it was typed, in place of FILE.

Rooms below know a pipeline by its name, so their advice says FILE where its declaration is needed.
A process carries out one command line, which is kept here.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from stream_app.hosts.pipeline_names import is_spec

_typed: dict[str, str] = {}
_options: dict[str, str] = {}


def remember(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Keep what PIPELINE is on the command line; a click callback."""
    if value is not None:
        _typed["PIPELINE"] = value
        file = value if is_spec(value) else f"{value}.py"
        if is_spec(value) or Path(file).is_file():
            _typed["FILE"] = file
    return value


def remember_option(context: click.Context, option: click.Parameter, value: str) -> str:
    """Keep a log or state that the command line names: whoever follows advice needs it again."""
    if context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
        _options[f"--{option.name}"] = value
    return value


def pasteable(text: str) -> str:
    """Return advice with the words that were typed in place of FILE and PIPELINE.

    Commands get the options that say which log and state were meant. A FILE that nobody has named
    is explained.
    """
    from stream_app.cli.commands import COMMANDS

    command = rf"\b({'|'.join(COMMANDS)})"
    found = re.sub(
        rf"{command} (FILE|PIPELINE)\b",
        lambda match: f"{match[1]} {_words(match[2], text)}",
        text,
    )
    if re.search(rf"{command} FILE\b", found):
        found = f"{found.removesuffix('.')} (FILE: the Python file that declares the pipeline)"
    return found


def _words(placeholder: str, text: str) -> str:
    if placeholder not in _typed:
        return placeholder
    words = [shlex.quote(_typed[placeholder])]
    for option, value in _options.items():
        if option not in text:
            words.append(f"{option} {shlex.quote(value)}")
    return " ".join(words)
