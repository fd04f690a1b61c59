"""A progress bar with rate and ETA on standard error; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from stream_app.cli.stderr import done
from stream_app.cli.table import count, size

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]


@contextmanager
def progress_bar(title: str, total: int | None, *, of_bytes: bool = False) -> Iterator[Advance]:
    """Show how much is done; what is yielded takes the amount done so far.

    Without a `total` there is a count and a rate, and no ETA.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield _ignore
        return
    done()
    write = size if of_bytes else count
    progress = _bar(total is not None)
    with progress:
        task = progress.add_task(title, total=total, done=write(0), rate="")

        def advance(amount: int) -> None:
            progress.update(task, completed=amount, done=write(amount))
            speed = progress.tasks[0].speed
            if speed:
                progress.update(task, rate=f"{write(round(speed))}/s")

        yield advance


@contextmanager
def progress_in_steps() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar after another; what is yielded takes (title, amount done, total)."""
    with ExitStack() as stack:
        shown: dict[str, Advance] = {}

        def advance(title: str, done: int, total: int) -> None:
            if title not in shown:
                stack.close()
                shown.clear()
                shown[title] = stack.enter_context(progress_bar(title, total))
            shown[title](done)

        yield advance


def _bar(ends: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), TextColumn("{task.fields[done]}")]
    if ends:
        columns[1:1] = [BarColumn(bar_width=None), TextColumn("{task.percentage:>3.0f}%")]  # type: ignore[list-item]
    columns.append(TextColumn("{task.fields[rate]}"))
    if ends:
        columns += [TextColumn("ETA"), TimeRemainingColumn()]  # type: ignore[list-item]
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _ignore(_done: int) -> None:
    """Nobody watches."""
