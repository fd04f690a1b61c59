"""What `intake` shows: a line for each source partition, live on a terminal, else in the log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stream_app.cli.live import Moving, shown
from stream_app.cli.logs import fact
from stream_app.cli.table import count
from stream_app.hosts.embedded import Owned, Stopped
from stream_app.hosts.source_copying import Skipped, SourceProgress, Word
from stream_app.records import Place


class SourceView(Moving[SourceProgress]):
    """What is told of a source partition."""

    @property
    def stands(self) -> tuple[int, int]:
        """What has to have moved to be worth a log line."""
        return self.progress.next_offset, self.progress.end

    def fields(self) -> dict[str, object]:
        """Return what is worth logging."""
        row = self.progress
        return {
            "source": row.partition,
            "next_offset": row.next_offset,
            "lag": row.end - row.next_offset,
            "copied": row.copied,
            "refused": row.refused,
            "skipped": row.skipped,
        }

    def cells(self) -> list[str]:
        """Return what is worth a look."""
        row = self.progress
        left = max(0, row.end - row.next_offset)
        return [
            f"[b]{row.partition}[/b]",
            f"{count(round(self._pace.rate))}/s",
            f"lag {count(left)}",
            self._pace.cell(left),
            f"copied {count(row.copied)}",
            f"[red]refused {count(row.refused)}[/red]" if row.refused else "",
            f"skipped {count(row.skipped)}" if row.skipped else "",
        ]


class IntakeView:
    """Hears what workers say, from any thread, and tells it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: dict[str, SourceView] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._owned: frozenset[Place] = frozenset()

    def say(self, word: Word) -> None:
        """Take in what a worker says."""
        if isinstance(word, Skipped):
            fact(
                "position_set",
                source=word.partition,
                before=word.before,
                next_offset=word.next_offset,
            )
        elif isinstance(word, SourceProgress):
            with self._lock:
                if word.partition in self._sources:
                    self._sources[word.partition].update(word)
                else:
                    self._sources[word.partition] = SourceView(word)
        elif isinstance(word, Owned):
            self._owned = frozenset(word.partitions)
        else:
            assert isinstance(word, Stopped)  # noqa: S101 - an error is shown at the end

    def records(self) -> int:
        """Return how many records of sources this run has copied."""
        return sum(view.progress.records for view in self._views())

    def rows(self) -> list[list[str]]:
        """Return a line of cells for each source partition that is ours now."""
        return [view.cells() for view in self._views() if view.progress.partition in self._owned]

    def log(self, *, everything: bool = False) -> None:
        """Write a line for each source partition that has moved, or for all."""
        for view in self._views():
            place = view.progress.partition
            if everything or self._told.get(place) != view.stands:
                self._told[place] = view.stands
                fact("source", **view.fields())

    def _views(self) -> list[SourceView]:
        with self._lock:
            return [self._sources[place] for place in sorted(self._sources)]


@contextmanager
def intake_view() -> Iterator[IntakeView]:
    """Show how intake goes until the block ends, and how it stood then."""
    view = IntakeView()
    try:
        with shown(view.rows, view.log):
            yield view
    finally:
        view.log(everything=True)
