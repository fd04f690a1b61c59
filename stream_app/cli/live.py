"""What commands that work on and on show: moving lines on a terminal, else a log now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from stream_app.cli.stderr import done
from stream_app.cli.table import duration

if TYPE_CHECKING:
    from rich.live import Live

TICK_S = 0.25
LOG_EVERY_S = 10.0
RATE_OVER_S = 5.0
IDLE_RATE = 0.5
# A partition is heard several times a second, unless what it waits for does not come.
SILENT_S = 5.0


class Pace:
    """How fast an offset moves, and when it was last heard of."""

    def __init__(self, offset: int) -> None:
        self._seen = deque([(time.monotonic(), offset)])

    def update(self, offset: int) -> None:
        """Take a newer offset in."""
        now = time.monotonic()
        self._seen.append((now, offset))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Records per second, over the last seconds."""
        (then, before), (_, offset) = self._seen[0], self._seen[-1]
        return (offset - before) / max(time.monotonic() - then, 1e-3)

    def eta_s(self, left: int) -> float | None:
        """Return the seconds that `left` more records take; None where nothing moves or is left."""
        return left / self.rate if self.rate > IDLE_RATE and left else None

    def cell(self, left: int) -> str:
        """Say how long `left` more records take, or that there has been no word for a while."""
        silent_s = time.monotonic() - self._seen[-1][0]
        if silent_s > SILENT_S:
            return f"[yellow]no word for {duration(silent_s)}[/yellow]"
        eta_s = self.eta_s(left)
        return "" if eta_s is None else f"ETA {duration(eta_s)}"


class HasOffset(Protocol):
    """What workers tell of a place: how far it is."""

    @property
    def next_offset(self) -> int:
        """First offset not done yet."""


P = TypeVar("P", bound=HasOffset)


class Moving(Generic[P]):
    """A place's newest progress, and how fast it moves."""

    def __init__(self, progress: P) -> None:
        self.progress = progress
        self._pace = Pace(progress.next_offset)

    def update(self, progress: P) -> None:
        """Take newer progress in."""
        self.progress = progress
        self._pace.update(progress.next_offset)


class Display:
    """Shows rows of cells on the terminal, or else calls `log` every few seconds."""

    def __init__(
        self,
        rows: Callable[[], Sequence[Sequence[str]]],
        log: Callable[[], None],
        screen: Live | None,
        before: str,
    ) -> None:
        self._rows = rows
        self._before = before
        self._log = log
        self._screen = screen
        self._logged_s = time.monotonic()

    def tick(self) -> None:
        """Show what there is now."""
        if self._screen is not None:
            from rich.table import Table

            table = Table.grid(padding=(0, 2), pad_edge=False)
            for row in self._rows() or [[self._before]]:
                table.add_row(*row)
            self._screen.update(table, refresh=True)
        elif time.monotonic() - self._logged_s >= LOG_EVERY_S:
            self._logged_s = time.monotonic()
            self._log()


@contextmanager
def shown(
    rows: Callable[[], Sequence[Sequence[str]]],
    log: Callable[[], None],
    at_tick: Callable[[], None] = lambda: None,
    *,
    before: str = "starting ...",
) -> Iterator[None]:
    """Show `rows` until the block ends: four times a second on a terminal, else by `log`.

    As long as there are none, a terminal shows `before`.
    """
    screen = _screen()
    display = Display(rows, log, screen, before)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(TICK_S):
            at_tick()
            display.tick()

    watcher = threading.Thread(target=watch, name="live", daemon=True)
    if screen is not None:
        done()
        screen.start()
        display.tick()
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        if screen is not None:
            screen.stop()


def _screen() -> Live | None:
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.live import Live

    return Live(console=Console(stderr=True), auto_refresh=False, transient=True)
