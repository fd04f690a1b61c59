"""A child process of the demo: it says things, stops when told, and ends when its parent does."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from stream_app.errors import StreamAppError
from stream_app.hosts.demo_words import Ended

JOIN_S = 20.0


class ChildProcess:
    """Runs a function, named as `module:function`, in a spawned process: `work(pipe, *arguments)`.

    It is imported there only. It sends what it has to say through the pipe, and takes the word
    `STOP` and the end of the pipe, which is its parent's death, as the order to stop.
    """

    def __init__(self, name: str, work: str, *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.ended = False
        self._process = context.Process(
            target=_be_child, args=(work, theirs, arguments), name=name, daemon=False
        )
        with _signals_ignored():
            self._process.start()
        theirs.close()

    def hear(self) -> list[Any]:
        """Return what it has said since; raises the error it ended by."""
        said = []
        while not self.ended and self.pipe.poll():
            try:
                word = self.pipe.recv()
            except (EOFError, OSError):
                self.ended = True
                raise self._silent_death() from None
            if isinstance(word, Ended):
                self.ended = True
                if word.error is not None:
                    raise word.error
            else:
                said.append(word)
        return said

    def _silent_death(self) -> StreamAppError:
        return StreamAppError(
            f"the demo's {self.name} died without a word, as by kill -9 or for want of memory.",
            attempt="the same command again: it goes on where it was, and nothing is lost",
        )

    def tell(self, word: object) -> None:
        """Send it a word; one that has ended hears nothing."""
        with contextlib.suppress(OSError):
            self.pipe.send(word)

    def finish(self) -> None:
        """Wait for its end, once it was told to stop; raises the error it ended by."""
        while not self.ended and self.pipe.poll(JOIN_S):
            self.hear()
        self.close()

    def close(self) -> None:
        """End it at once if it still runs; kill -9 costs nothing but a moment at the next start."""
        if not self.ended:
            self._process.kill()
        self._process.join()
        self.pipe.close()


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let the child begin deaf to signals: a terminal's Ctrl-C goes to all, its parent decides."""
    before = [(s, signal.signal(s, signal.SIG_IGN)) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _be_child(work: str, pipe: Connection, arguments: tuple[object, ...]) -> None:
    module, _, function = work.partition(":")
    error: StreamAppError | None = None
    try:
        getattr(importlib.import_module(module), function)(pipe, *arguments)
    except StreamAppError as known:
        error = known
    with contextlib.suppress(OSError):  # a parent that is gone hears nothing
        pipe.send(Ended(error))
