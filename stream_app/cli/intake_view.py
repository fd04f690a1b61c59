"""What `intake` shows: a log line for each source partition now and then, and at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stream_app.cli.logs import fact
from stream_app.hosts.embedded import Owned, Stopped
from stream_app.hosts.source_copying import Skipped, SourceProgress, Word

LOG_EVERY_S = 10.0


class IntakeView:
    """Hears what workers say, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, SourceProgress] = {}
        self._told: dict[str, tuple[int, int]] = {}

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
                self._newest[word.partition] = word
        else:
            assert isinstance(word, Owned | Stopped)  # noqa: S101 - an error is shown at the end

    def records(self) -> int:
        """Return how many records of sources this run has copied."""
        with self._lock:
            return sum(row.records for row in self._newest.values())

    def log(self, *, everything: bool = False) -> None:
        """Write a line for each source partition that has moved, or for all."""
        with self._lock:
            rows = [self._newest[place] for place in sorted(self._newest)]
        for row in rows:
            stands = (row.next_offset, row.end)
            if everything or self._told.get(row.partition) != stands:
                self._told[row.partition] = stands
                fact(
                    "source",
                    source=row.partition,
                    next_offset=row.next_offset,
                    lag=row.end - row.next_offset,
                    copied=row.copied,
                    refused=row.refused,
                    skipped=row.skipped,
                )


@contextmanager
def intake_view() -> Iterator[IntakeView]:
    """Show how intake goes until the block ends, and how it stood then."""
    view = IntakeView()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOG_EVERY_S):
            view.log()

    watcher = threading.Thread(target=watch, name="intake-view", daemon=True)
    watcher.start()
    try:
        yield view
    finally:
        ended.set()
        watcher.join()
        view.log(everything=True)
