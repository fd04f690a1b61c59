"""The options that several commands share, spelled once."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click

from stream_app.cli.logs import FORMATS, LEVELS, set_format, set_level
from stream_app.cli.typed_pipeline import remember_option
from stream_app.hosts.log_url import DEFAULT_BROKER, DEFAULT_STATE, without_credentials
from stream_app.web.address import parse_address

Command = TypeVar("Command", bound=Callable[..., Any])


def broker(command: Command) -> Command:
    """`--broker URL`: which log."""
    return click.option(
        "--broker",
        metavar="URL",
        default=DEFAULT_BROKER,
        envvar="STREAM_APP_BROKER",
        show_default=True,
        show_envvar=True,
        callback=lambda context, option, value: remember_option(
            context, option, without_credentials(value)
        ),
        help="The event log: sqlite:///path, a path, or kafka://host:port[,host:port].",
    )(command)


def state(command: Command) -> Command:
    """`--state DIR`: where checkpoints and keys are."""
    return click.option(
        "--state",
        metavar="DIR",
        default=DEFAULT_STATE,
        envvar="STREAM_APP_STATE",
        show_default=True,
        show_envvar=True,
        callback=remember_option,
        help="Directory of checkpoints and keys.",
    )(command)


def workers(what: str) -> Callable[[Command], Command]:
    """`--workers N` of a command that stays: how many processes share `what`."""
    return click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        default=1,
        envvar="STREAM_APP_WORKERS",
        show_default=True,
        show_envvar=True,
        help=f"Processes that share {what}.",
    )


def http(command: Command) -> Command:
    """`--http [HOST:]PORT`: where to answer `/livez`, `/readyz` and `/metrics`."""
    return click.option(
        "--http",
        metavar="[HOST:]PORT",
        envvar="STREAM_APP_HTTP",
        show_envvar=True,
        callback=lambda _context, _option, text: None if text is None else parse_address(text),
        help="Answer /livez, /readyz and /metrics there; port 0 is any free one.  [default: off]",
    )(command)


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return None


def by(command: Command) -> Command:
    """`--by WHO`: whose order it is."""
    return click.option(
        "--by",
        metavar="WHO",
        default=_user,
        help="Who changes it, for the record.  [default: you]",
    )(command)


def bounds(command: Command) -> Command:
    """`--from X` and `--to X`: a range of the log, see `hosts/bounds.py`."""
    begin = click.option(
        "--from",
        "begin",
        metavar="X",
        default="earliest",
        show_default=True,
        help="A position (0@1234), a time of append (2013-02-01T12:00, -2d), or event:2013-02-01.",
    )
    end = click.option(
        "--to",
        "end",
        metavar="X",
        default="latest",
        show_default=True,
        help="The first place that is left out, written likewise.",
    )
    return begin(end(command))


def as_json(command: Command) -> Command:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")(
        command
    )


def logs(command: Command) -> Command:
    """`--log-level` and `--log-format`; both are in force as soon as they are read."""
    level = click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        envvar="STREAM_APP_LOG_LEVEL",
        show_default=True,
        show_envvar=True,
        expose_value=False,
        is_eager=True,
        callback=lambda _context, _option, value: set_level(value),
        help="debug also shows the traceback of an unexpected error.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(FORMATS),
        envvar="STREAM_APP_LOG_FORMAT",
        show_envvar=True,
        expose_value=False,
        is_eager=True,
        callback=lambda _context, _option, value: set_format(value),
        help="By default text on a terminal and JSON lines elsewhere.",
    )
    return level(form(command))
