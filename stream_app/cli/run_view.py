"""What `run` shows: one live line per partition on a terminal, else a log line now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stream_app.cli.live import Moving, shown
from stream_app.cli.logs import fact
from stream_app.cli.table import count
from stream_app.cli.typed_pipeline import pasteable
from stream_app.core.seats import Seat
from stream_app.hosts.embedded import Notice, Owned, Progress, Word
from stream_app.hosts.stop_flag import StopFlag
from stream_app.records import Place


class PartitionView(Moving[Progress]):
    """What is told of a partition."""

    @property
    def left(self) -> int:
        """How many offsets it is from where it works to: while learning again, the commit."""
        progress = self.progress
        goal = progress.committed if progress.relearning else progress.end
        return max(0, goal - progress.next_offset)

    def fields(self) -> dict[str, object]:
        """Return what is worth logging."""
        progress = self.progress
        found: dict[str, object] = {
            "partition": progress.partition,
            "next_offset": progress.next_offset,
            "lag": progress.end - progress.next_offset,
            "records_per_s": round(self._pace.rate),
        }
        if progress.relearning:
            found["learning_again_until"] = progress.committed
        if (eta_s := self._pace.eta_s(self.left)) is not None:
            found["eta_s"] = round(eta_s)
        if progress.commit is not None:
            counters = progress.commit.counters
            found["joined"] = counters.get("labels_joined", 0)
            found["waiting"] = progress.commit.waiting
            found["timed_out"] = counters.get("timed_out", 0)
            found["dead_letters"] = counters.get("dead_letters", 0)
        return found

    def cells(self) -> list[str]:
        """Return what is worth a look."""
        progress = self.progress
        cells = [f"[b]partition {progress.partition}[/b]", f"{count(round(self._pace.rate))}/s"]
        if progress.relearning:
            share = 100 * progress.next_offset // max(1, progress.committed)
            return [*cells, f"learning again {share} %", self._pace.cell(self.left)]
        cells += [f"lag {count(self.left)}", self._pace.cell(self.left)]
        if progress.commit is not None:
            counters = progress.commit.counters
            cells.append(f"joined {count(counters.get('labels_joined', 0))}")
            cells.append(f"waiting {count(progress.commit.waiting)}")
            dead = counters.get("dead_letters", 0)
            cells.append(f"[red]dead letters {count(dead)}[/red]" if dead else "")
        return cells


class RunView:
    """Hears what the workers say, and tells it."""

    def __init__(self, flag: StopFlag) -> None:
        self._flag = flag
        self._partitions: dict[int, PartitionView] = {}
        self._failed: set[tuple[int, str]] = set()
        self._hosted: dict[int, tuple[set[str], Seat]] = {}
        self._owned: frozenset[Place] = frozenset()
        self._signals = 0

    def say(self, item: Word) -> None:
        """Take in what a worker says."""
        if isinstance(item, Notice):
            where = {} if item.partition is None else {"partition": item.partition}
            fact("notice", **where, text=pasteable(item.text))
            return
        if isinstance(item, Owned):
            self._owned = frozenset(item.partitions)
        if not isinstance(item, Progress):
            return  # an error is shown when all workers have ended
        self._say_failed(item)
        self._say_changes(item)
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

    def _say_changes(self, progress: Progress) -> None:
        """Say when a version has come in, and when the champion is another one."""
        commit, number = progress.commit, progress.partition
        if commit is None:
            return
        before = self._hosted.get(number)
        self._hosted[number] = (set(commit.versions), commit.seat)
        if before is None:
            return
        versions, seat = before
        for version in sorted(commit.versions.keys() - versions):
            fact("version_joined", partition=number, version=version, since=commit.next_offset)
        if commit.seat != seat:
            change = commit.seats[-1] if commit.seats else None
            why = {} if change is None else {"by": change.by, "reason": change.reason}
            champion, since = commit.seat.champion, commit.seat.since
            fact("champion_changed", partition=number, version=champion, since=since, **why)

    def say_stopping(self) -> None:
        """Say that a signal has come."""
        if self._flag.signals > self._signals:
            self._signals = self._flag.signals
            fact("stopping", after="the step at hand, then a checkpoint", signals=self._signals)

    def records(self) -> int:
        """Return how many records this run has processed."""
        return sum(view.progress.records for view in self._partitions.values())

    def rows(self) -> list[list[str]]:
        """Return a line of cells for each partition that is ours now."""
        ours = sorted(number for number in self._partitions if number in self._owned)
        return [self._partitions[number].cells() for number in ours]

    def log(self) -> None:
        """Write a log line for each partition."""
        for number in sorted(self._partitions):
            fact("progress", **self._partitions[number].fields())


@contextmanager
def run_view(flag: StopFlag, broker: str) -> Iterator[RunView]:
    """Show a run until the block ends, and how it stood then."""
    view = RunView(flag)
    try:
        with shown(view.rows, view.log, view.say_stopping, before=f"opening {broker} ..."):
            yield view
    finally:
        view.log()
