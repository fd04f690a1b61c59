"""The demo's worker process: what `stream-app run` does, on the demo's log."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from multiprocessing.connection import Connection

from stream_app.errors import LogBusy
from stream_app.hosts.demo_words import Began, Loaded, Noted
from stream_app.hosts.embedded import Notice, Progress, Word
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.workers import RunPlan, run

# The worker of a demo that was killed a moment ago needs some time to notice.
BUSY_S = 3.0


def work(pipe: Connection, pipeline: str, broker: str, state: str) -> None:
    """Run the pipeline until the pipe says stop, its other end is gone, or SIGTERM comes."""
    stopped = StopFlag()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    threading.Thread(target=_stop_when_told, args=(pipe, stopped), daemon=True).start()
    pipe.send(Loaded(load_pipeline(pipeline).name))
    plan = RunPlan(spec=pipeline, broker=broker, state=state)
    patience = time.monotonic() + BUSY_S
    say = _Say(pipe)
    while True:
        try:
            run(plan, say, stopped)
            return
        except LogBusy:
            if say.began or time.monotonic() > patience:
                raise
            time.sleep(0.2)


def _stop_when_told(pipe: Connection, stopped: StopFlag) -> None:
    with contextlib.suppress(EOFError, OSError):  # the parent is gone: stop as well
        pipe.recv()
    stopped.set()


class _Say:
    """Hands on to the parent what it needs of a run's words."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.began = False

    def __call__(self, word: Word) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, and the flag will tell
            if isinstance(word, Notice):
                self._pipe.send(Noted(word.text))
            elif isinstance(word, Progress) and not self.began:
                self.began = True
                self._pipe.send(Began())
