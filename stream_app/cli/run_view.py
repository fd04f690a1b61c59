"""What `run` shows: one live line per partition on a terminal, else a log line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stream_app.cli.logs import fact
from stream_app.cli.table import count, duration
from stream_app.hosts.embedded import Notice, Progress, Word
from stream_app.hosts.stop_flag import StopFlag

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

TICK_S = 0.25
LOG_EVERY_S = 10.0
RATE_OVER_S = 5.0
_IDLE_RATE = 0.5


class PartitionView:
    """One partition's newest progress, and how fast it moves."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._seen = deque([(time.monotonic(), progress.next_offset)])

    def update(self, progress: Progress) -> None:
        """Take newer progress in."""
        now = time.monotonic()
        self.progress = progress
        self._seen.append((now, progress.next_offset))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Records per second, over the last seconds."""
        (then, before), (_, offset) = self._seen[0], self._seen[-1]
        return (offset - before) / max(time.monotonic() - then, 1e-3)

    @property
    def goal(self) -> int:
        """The offset it works towards: while learning again, the committed position."""
        return self.progress.committed if self.progress.relearning else self.progress.end

    def fields(self) -> dict[str, object]:
        """Return what is worth logging."""
        progress, rate = self.progress, self.rate
        left = max(0, self.goal - progress.next_offset)
        found: dict[str, object] = {
            "partition": progress.partition,
            "next_offset": progress.next_offset,
            "lag": progress.end - progress.next_offset,
            "records_per_s": round(rate),
        }
        if progress.relearning:
            found["learning_again_until"] = progress.committed
        if rate > _IDLE_RATE and left:
            found["eta_s"] = round(left / rate)
        if progress.commit is not None:
            counters = progress.commit.counters
            found["joined"] = counters.get("labels_joined", 0)
            found["waiting"] = progress.commit.waiting
            found["timed_out"] = counters.get("timed_out", 0)
            found["dead_letters"] = counters.get("dead_letters", 0)
        return found


class RunView:
    """Hears what the workers say, and shows it: in the log, or on a screen."""

    def __init__(self, flag: StopFlag, screen: Live | None) -> None:
        self._flag = flag
        self._screen = screen
        self._partitions: dict[int, PartitionView] = {}
        self._failed: set[tuple[int, str]] = set()
        self._signals = 0
        self._logged = time.monotonic()

    def say(self, item: Word) -> None:
        """Take in what a worker says."""
        if isinstance(item, Notice):
            where = {} if item.partition is None else {"partition": item.partition}
            fact("notice", **where, text=item.text)
            return
        if not isinstance(item, Progress):
            return  # an error is shown when all workers have ended
        self._say_failed(item)
        if item.partition in self._partitions:
            self._partitions[item.partition].update(item)
        else:
            self._partitions[item.partition] = PartitionView(item)

    def _say_failed(self, progress: Progress) -> None:
        """Say once which versions have failed: a failed shadow stops nothing that one could see."""
        failed = {} if progress.commit is None else progress.commit.failed
        for version, why in failed.items():
            if (progress.partition, version) not in self._failed:
                self._failed.add((progress.partition, version))
                fact("version_failed", partition=progress.partition, version=version, why=why)

    def records(self) -> int:
        """Return how many records this run has processed."""
        return sum(view.progress.records for view in self._partitions.values())

    def tick(self) -> None:
        """Show what there is now."""
        if self._flag.signals > self._signals:
            self._signals = self._flag.signals
            fact("stopping", after="the step at hand, then a checkpoint", signals=self._signals)
        if self._screen is not None:
            self._screen.update(self._table(), refresh=True)
        elif time.monotonic() - self._logged >= LOG_EVERY_S:
            self.log()

    def log(self) -> None:
        """Write a log line for each partition."""
        self._logged = time.monotonic()
        for number in sorted(self._partitions):
            fact("progress", **self._partitions[number].fields())

    def _table(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2), pad_edge=False)
        for number in sorted(self._partitions):
            table.add_row(*self._cells(self._partitions[number]))
        if not self._partitions:
            table.add_row("starting ...")
        return table

    def _cells(self, view: PartitionView) -> list[str]:
        progress, rate = view.progress, view.rate
        left = max(0, view.goal - progress.next_offset)
        eta = f"ETA {duration(left / rate)}" if rate > _IDLE_RATE and left else ""
        cells = [f"[b]partition {progress.partition}[/b]", f"{count(round(rate))} records/s"]
        if progress.relearning:
            share = 100 * progress.next_offset // max(1, progress.committed)
            return [*cells, f"learning again {share} %", eta]
        cells += [f"lag {count(left)}", eta]
        if progress.commit is not None:
            counters = progress.commit.counters
            cells.append(f"joined {count(counters.get('labels_joined', 0))}")
            cells.append(f"waiting {count(progress.commit.waiting)}")
            dead = counters.get("dead_letters", 0)
            cells.append(f"[red]dead letters {count(dead)}[/red]" if dead else "")
        return cells


@contextmanager
def run_view(flag: StopFlag) -> Iterator[RunView]:
    """Show a run until the block ends, and how it stood then."""
    screen = _screen()
    view = RunView(flag, screen)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(TICK_S):
            view.tick()

    watcher = threading.Thread(target=watch, name="run-view", daemon=True)
    if screen is not None:
        screen.start()
    watcher.start()
    try:
        yield view
    finally:
        ended.set()
        watcher.join()
        if screen is not None:
            screen.stop()
        view.log()


def _screen() -> Live | None:
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.live import Live

    return Live(console=Console(stderr=True), auto_refresh=False, transient=True)
