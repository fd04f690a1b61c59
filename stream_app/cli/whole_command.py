"""The whole command to type in place of one that lacked something."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
from click.core import ParameterSource


def whole_command(context: click.Context) -> str:
    """Return the command as it was typed, with a word in capitals for each thing that it lacks."""
    words = [context.command_path]
    for parameter in context.command.params:
        words += _words(context, parameter)
    return " ".join(words)


def _words(context: click.Context, parameter: click.Parameter) -> Iterator[str]:
    name = str(parameter.name)
    value = context.params.get(name)
    given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    if isinstance(parameter, click.Argument):
        if given and value is not None:
            yield shlex.quote(str(value))
        elif parameter.required:
            yield parameter.make_metavar(context)
    elif isinstance(parameter, click.Option):
        if given and parameter.is_flag:
            yield parameter.opts[-1]
        elif given and isinstance(value, str | int | float):
            yield f"{parameter.opts[0]} {shlex.quote(str(value))}"
        elif parameter.required:
            wanted = parameter.make_metavar(context)
            yield (
                f'{parameter.opts[0]} "{wanted}"'
                if wanted == "WHY"
                else f"{parameter.opts[0]} {wanted}"
            )
