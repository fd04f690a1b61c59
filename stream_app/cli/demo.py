"""`stream-app demo`: real flights into an embedded log, live predictions and metrics on screen."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click

from stream_app.cli import options
from stream_app.cli.demo_lines import DemoLines
from stream_app.cli.demo_screen import DemoScreen
from stream_app.cli.demo_summary import program, say, summary, when
from stream_app.hosts.demo import DemoPlan, run_demo
from stream_app.hosts.demo_figures import Figures
from stream_app.hosts.stop_flag import StopFlag

DAYS = 45
DIRECTORY = ".stream-app/demo"
# Never imported from here: it brings River in, and the worker runs its copy.
DECLARATION = Path(__file__).with_name("demo_pipeline.py")
INTERRUPTED = 130


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    metavar="N",
    help=f"Flights of the first so many days of 2013.  [default: {DAYS}]",
)
@click.option("--all", "whole_year", is_flag=True, help="All flights of the year.")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(DIRECTORY),
    envvar="STREAM_APP_DEMO_DIRECTORY",
    show_default=True,
    show_envvar=True,
    help="Where log, state and pipeline are kept.",
)
@options.logs
def demo(days: int | None, whole_year: bool, directory: Path) -> int:
    """Watch models learn from the real flights of New York 2013.

    Each flight is an observation when it leaves and a label when it lands: more than 15 minutes
    late? Ctrl-C stops; the same command goes on from there, also after kill -9. What is shown is
    read from the log, as any downstream app reads it.
    """
    if days is not None and whole_year:
        raise click.UsageError("--days and --all exclude each other")
    plan = DemoPlan(directory, None if whole_year else days or DAYS, DECLARATION)
    stopped = StopFlag()
    stopped.install()
    began = time.monotonic()
    with ExitStack() as stack:
        live = sys.stdout.isatty()
        view = stack.enter_context(DemoScreen(plan)) if live else DemoLines(plan)
        end = run_demo(plan, show=view.show, stopped=stopped)
    say(summary(plan, end.figures, time.monotonic() - began))
    if end.complete:
        return 0
    say([f"Stopped {_where(end.figures)}. To go on from there: {_again(plan)}"])
    return INTERRUPTED if stopped.signal == signal.SIGINT else 0


def _where(figures: Figures | None) -> str:
    if figures is None or figures.commit is None:
        return "while starting"
    return f"at {when(figures.commit.watermark_ms)}"


def _again(plan: DemoPlan) -> str:
    words = [*program(), "demo"]
    if plan.days is None:
        words.append("--all")
    elif plan.days != DAYS:
        words += ["--days", str(plan.days)]
    if plan.directory != Path(DIRECTORY):
        words += ["--directory", str(plan.directory)]
    return shlex.join(words)
