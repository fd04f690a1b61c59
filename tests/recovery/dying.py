"""The command in a process that is killed (SIGKILL) before or after the n-th call of something."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stream_app.cli.hash_seed import SEED
from stream_app.core import environment
from stream_app.hosts import blob_topic

LIVES_AT_MOST_S = 60.0
# Not a fork of the tests' own server: the command has one of its own, and must be the first there.
CONTEXT = multiprocessing.get_context("spawn")


class Moment(NamedTuple):
    """When to die: `where` is `module:function` or `module:Class.method`."""

    when: str  # before | after
    nth: int
    where: str


def lived(
    directory: Path,
    arguments: Sequence[str],
    moment: Moment | None = None,
    river: str | None = None,
) -> int:
    """Run `stream-app` there and return its exit code, which is -9 when it was killed.

    What it prints is in the file `said` there. It takes River for the release `river`.
    """
    os.environ["PYTHONHASHSEED"] = SEED
    process = CONTEXT.Process(target=_live, args=(str(directory), list(arguments), moment, river))
    process.start()
    process.join(LIVES_AT_MOST_S)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"{arguments} hangs")
    return process.exitcode


def _live(directory: str, arguments: list[str], moment: Moment | None, river: str | None) -> None:
    from stream_app.cli.program import main as stream_app  # noqa: PLC0415 - in that process alone

    os.chdir(directory)
    # A transaction for each piece, so that one can come between two.
    blob_topic.PIECES_AT_ONCE = 1
    said = os.open(f"{directory}/said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if moment is not None:
        _prepare(moment)
    if river is not None:
        _pretend(river)
    try:
        stream_app(arguments)
    finally:
        sys.stdout.flush()


def _pretend(river: str) -> None:
    """Have this process believe in another River."""
    module: Any = environment
    real = module.version
    module.version = lambda name: river if name == "river" else real(name)
    module.this_environment.cache_clear()


def _prepare(moment: Moment) -> None:
    """Have this process kill itself at a moment."""
    module, _, path = moment.where.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real, calls = getattr(owner, name), 0

    def deadly(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if (moment.when, calls) == ("before", moment.nth):
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **more)
        if (moment.when, calls) == ("after", moment.nth):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
