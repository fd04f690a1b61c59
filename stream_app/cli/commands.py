"""The commands by name, each imported only when it is used."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click

from stream_app.cli.hash_seed import fix_hash_seed
from stream_app.cli.project_settings import project_settings
from stream_app.cli.stderr import doing
from stream_app.near_names import near_name


class Listed(NamedTuple):
    """Where a command is, what it does, and whether models run in it."""

    module: str
    help: str
    runs_models: bool = False


GROUPS = {
    "Begin": {
        "demo": Listed("demo", "Real flights into a log, live predictions on screen.", True),
        "flights": Listed("flights", "Print real flights as JSON lines, for pipes."),
        "topics": Listed("topics", "Show a pipeline's topics, or make what is missing."),
    },
    "Run": {
        "run": Listed("run", "Process a pipeline's events live.", True),
        "produce": Listed("produce", "Append events from JSON lines or CSV."),
        "intake": Listed("intake", "Copy events from other topics into a pipeline's log."),
        "apply": Listed("apply", "Put changed settings into the log."),
    },
    "Look": {
        "status": Listed("status", "Show where pipelines stand, and what they counted."),
        "consume": Listed("consume", "Print a topic's records as JSON lines."),
        "dead-letters": Listed("dead_letters", "Show refused records and failed model calls."),
        "explain": Listed("explain", "Make one prediction again; show what the model knew.", True),
        "replay": Listed("replay", "Fold the log again and compare with what is out.", True),
        "schemas": Listed("schemas", "Print the JSON Schemas of all records."),
    },
    "Versions and models": {
        "backfill": Listed("backfill", "Build a version from history, beside the live ones.", True),
        "compare": Listed("compare", "Say which of two versions was better, and how surely."),
        "promote": Listed("promote", "Make another version the champion."),
        "export": Listed("export", "Write a version's models into one signed file.", True),
        "import": Listed("import_model", "Let a version begin from such a file.", True),
        "inspect": Listed("inspect", "Show what is in a file that export has written."),
    },
    "Look after": {
        "doctor": Listed("doctor", "Find what is wrong around a pipeline; how to repair it."),
        "checkpoints": Listed("checkpoints", "Look at the saved state; keep, prune, restore it."),
        "keys": Listed("keys", "Show or change the keys that controls are signed with."),
        "retain": Listed("retain", "Delete old outputs from the embedded log."),
    },
}
COMMANDS = {name: listed for group in GROUPS.values() for name, listed in group.items()}


class LazyCommands(click.Group):
    """A group whose help needs none of its commands' modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names, in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None when there is none of that name."""
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        module = import_module(f"stream_app.cli.{listed.module}")
        command: click.Command = getattr(module, listed.module)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, under the hash seed and with the project's settings that it needs."""
        name = args[0] if args else ""
        listed = COMMANDS.get(name)
        if listed is not None:
            if not {"--help", "-h"} & {*args}:
                _prepare(name, listed)
            ctx.default_map = {name: project_settings(Path())}
        elif not name.startswith("-"):
            ctx.fail(f"there is no command {name!r}; {_near(name)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands in groups, without importing them."""
        width = max(map(len, COMMANDS))  # the same in every group, so that all stand in one column
        for title, group in GROUPS.items():
            with formatter.section(title):
                rows = [(name.ljust(width), listed.help) for name, listed in group.items()]
                formatter.write_dl(rows)


def _prepare(name: str, listed: Listed) -> None:
    if name != "demo":  # which has a screen of its own
        doing(f"starting {name}")  # the imports take up to a second
    if listed.runs_models:
        fix_hash_seed()


def _near(name: str) -> str:
    near = near_name(name, COMMANDS)
    return f"did you mean {near}?" if near else "--help lists them"


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from stream_app.compiled import build_name

        sys.stdout.write(f"stream-app {version('stream-app')}, {build_name()}\n")
        context.exit()


@click.group(
    cls=LazyCommands,
    name="stream-app",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 unexpected, 2 usage, 3 a difference was found, 4 the "
    "surroundings failed, 5 needs a person, 130 Ctrl-C.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def stream_app(context: click.Context) -> None:
    """Streaming online learning: one event log, models that learn from it, exactly once.

    Start with `stream-app demo`, or `stream-app run flights.py` for a pipeline of your own.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
