"""The whole program: runs one command and turns whatever comes of it into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from stream_app.cli import signals, stderr, stdout
from stream_app.cli.typed_pipeline import pasteable
from stream_app.cli.whole_command import whole_command
from stream_app.errors import StreamAppError, lacking
from stream_app.near_names import did_you_mean

DONE, UNEXPECTED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `stream-app` with these arguments, by default the process's, and end the process."""
    sys.exit(exit_code(list(sys.argv[1:] if arguments is None else arguments)))


def exit_code(arguments: list[str]) -> int:
    """Run one command; errors go to standard error as `Error:` and `Try:`."""
    signals.install()
    try:
        code = _run(arguments)
        stdout.flush()
    except BrokenPipeError:
        stdout.discard()  # the reader has seen enough, as `head` has
        return DONE
    except (signals.Terminated, KeyboardInterrupt) as ended:
        return _ended(INTERRUPTED if isinstance(ended, KeyboardInterrupt) else DONE)
    except SystemExit:
        raise
    except BaseException as error:  # users' models may raise GeneratorExit and worse
        return _failed(error, arguments)
    finally:
        stderr.done()
    return code


def _failed(error: BaseException, arguments: list[str]) -> int:
    error = lacking(error) or error
    if isinstance(error, click.ClickException):
        return _say(_usage_problem(error), _usage_attempt(error, arguments), USAGE)
    if isinstance(error, StreamAppError):
        _show_traceback()
        return _say(error.problem, error.attempt, error.exit_code)
    return _unexpected(error)


def _run(arguments: list[str]) -> int:
    from stream_app.cli.commands import stream_app

    try:
        with stream_app.make_context("stream-app", arguments) as context:
            returned = stream_app.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return returned if isinstance(returned, int) else DONE


def _ended(code: int) -> int:
    """End after a signal; what was said so far is still handed on."""
    try:
        stdout.flush()
    except (BrokenPipeError, StreamAppError):
        stdout.discard()
    return code


def _usage_attempt(error: click.ClickException, arguments: list[str]) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.MissingParameter) and context is not None:
        return whole_command(context)
    if context is not None:
        return f"{context.command_path} --help"
    from stream_app.cli.commands import COMMANDS

    # An option that lacks its value is found before its command has a context.
    return " ".join(["stream-app", *(word for word in arguments[:1] if word in COMMANDS), "--help"])


def _usage_problem(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"no such option: {error.option_name}" + did_you_mean(
            error.option_name, error.possibilities or ()
        )
    text = error.format_message()
    return text[:1].lower() + text[1:]


def _unexpected(error: BaseException) -> int:
    if _show_traceback():
        attempt = "the traceback above says where; please report it with the command"
    else:
        attempt = "the same command with --log-level debug shows where"
    return _say(f"unexpected {type(error).__name__}: {error}", attempt, UNEXPECTED)


def _show_traceback() -> bool:
    """Show the traceback at hand, if anybody asked for that."""
    logs = sys.modules.get("stream_app.cli.logs")
    if logs is None or not logs.debugging():
        return False
    import traceback

    traceback.print_exc()
    return True


def _say(problem: str, attempt: str, code: int) -> int:
    try:
        stdout.flush()
    except (BrokenPipeError, StreamAppError):
        stdout.discard()
    stderr.say(problem, "Error:", fg="red", bold=True)
    stderr.say(pasteable(attempt), "Try:", fg="green", bold=True)
    return code
