"""One process that has imported what takes long, and of which workers are forks.

It imports and does nothing else: no log, no state and no client's thread is there when it forks, so
a fork may open them as any new process does. This module imports nothing that takes time itself, so
that a command can begin with it and import for itself meanwhile.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

CONTEXT = multiprocessing.get_context("forkserver")
# What a worker that folds takes longest to import; the declaration brings the rest of River. The
# first one comes before any module of River: with it SciPy waits until a model calls it.
FOLDING = (
    "stream_app.learning",
    "stream_app.hosts.backfills",
    "stream_app.hosts.embedded",
    "stream_app.hosts.replay_segments",
)


def warm_up(*modules: str) -> None:
    """Begin to import what workers need, in a process beside this one; returns at once.

    Workers are forks of it, so that none imports by itself, nor when it is started again.
    """
    CONTEXT.set_forkserver_preload(list(modules))
    with deaf():
        forkserver.ensure_running()


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Let processes that start here be killed by no signal before they can handle it.

    A terminal's Ctrl-C goes to all processes, and the parent decides what it means; SIGTERM may
    come to all of them too (systemd does that). Both are inherited: ignored, and held back.
    """
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The tracker would let SIGTERM through again when it starts by itself.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGINT, handler)
