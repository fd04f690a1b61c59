"""Worker processes: forked, heard, ended together, and where that is wanted started again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from stream_app.errors import (
    LogForbidden,
    NeedsPerson,
    RecordTooLarge,
    StreamAppError,
    UsageError,
    lacking,
)
from stream_app.hosts.embedded import Owned, Stopped
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.warm_forks import CONTEXT, deaf
from stream_app.hosts.worker_logs import Levels, Logged, levels_here, log_again, relay_logs
from stream_app.records import Place

Say = Callable[[Any], None]
# work(plan, partitions, until, say, stopped)
Work = Callable[[Any, Sequence[Any], Any, Say, Callable[[], bool]], None]

PATIENCE_SIGNALS = 2
LOOK_EVERY_S = 0.2
# A worker is started again after 1, 2, 4 ... seconds; one that ran this long begins anew.
BACKOFF_MAX_S = 30.0
FAILURES_MAX = 8
STEADY_S = 60.0


class Ended(msgspec.Struct, frozen=True):
    """How a worker process ended: in good order, or by an error.

    `trace` is the traceback of an error that nobody expected.
    """

    worker: int
    error: StreamAppError | None
    trace: str = ""


class _Worker:
    """One worker's process, the pipe to it, and when it is to be started (again)."""

    def __init__(self, number: int, start: Callable[[int], tuple[Any, Connection]]) -> None:
        self.number = number
        self.owned: tuple[Place, ...] = ()
        self.pipe: Connection | None = None
        self.failures = 0
        self.lived = False
        self._start = start
        self.begin()

    def begin(self) -> None:
        self.began_s = time.monotonic()
        self.again_s: float | None = None
        self.process, self.pipe = self._start(self.number)

    def failed(self) -> bool:
        """Take note of an error; tells whether to start again, which is then due in a while."""
        if time.monotonic() - self.began_s > STEADY_S:
            self.failures = 0
        self.failures += 1
        if self.failures > FAILURES_MAX:
            return False
        self.again_s = time.monotonic() + min(2.0 ** (self.failures - 1), BACKOFF_MAX_S)
        return True


def supervise(
    work: Work,
    plan: Any,
    shares: Sequence[Sequence[Place]],
    until: Any,
    say: Say,
    stopped: StopFlag,
    *,
    restarts: bool = False,
) -> None:
    """Run `work` in one process a share, pass on what they say, and end all when one fails.

    All of them get `until`, whatever `work` takes for that.

    With `restarts` one that has worked and failed is started again after a pause that grows, but
    for errors that need a person or another command. A worker that is frozen never hears that it
    is to stop: the second signal ends those too. Raises what ended the first worker that stays
    ended.
    """

    def start(number: int) -> tuple[Any, Connection]:
        return _spawn(work, plan, number, shares[number], until)

    workers = [_Worker(number, start) for number in range(len(shares))]
    try:
        _watch(workers, shares, say, stopped, restarts)
    finally:
        _stop_all(workers)
        for worker in workers:
            _end(worker.process, stopped)


def _watch(
    workers: Sequence[_Worker],
    shares: Sequence[Sequence[Place]],
    say: Say,
    stopped: StopFlag,
    restarts: bool,
) -> None:
    first: StreamAppError | None = None
    told = False
    while not _impatient(stopped):
        _begin_again(workers, stopped)
        pipes = {worker.pipe: worker for worker in workers if worker.pipe is not None}
        if not pipes and all(worker.again_s is None for worker in workers):
            break
        if stopped() and not told:
            told = True
            _stop_all(workers)
        for ready in wait(list(pipes), timeout=LOOK_EVERY_S):
            worker = pipes[ready]  # type: ignore[index]
            error, ended = _hear(worker, workers, say)
            if ended:
                worker.pipe = None
            if error is None:
                continue
            for partition in worker.owned or shares[worker.number]:
                say(Stopped(partition, error.problem))
            again = restarts and worker.lived and not stopped() and _is_passing(error)
            if again and worker.failed():
                logging.getLogger("stream_app").warning(
                    "worker_restarts",
                    extra={"fields": {"worker": worker.number, "because": error.problem}},
                )
                continue
            first = first or error
            stopped.set()
    if first is not None:
        raise first


def _begin_again(workers: Sequence[_Worker], stopped: StopFlag) -> None:
    for worker in workers:
        if worker.again_s is not None and stopped():
            worker.again_s = None
        elif worker.again_s is not None and time.monotonic() >= worker.again_s:
            worker.process.join()
            worker.begin()


def _is_passing(error: StreamAppError) -> bool:
    return not isinstance(error, NeedsPerson | UsageError | LogForbidden | RecordTooLarge)


def _hear(
    worker: _Worker, workers: Sequence[_Worker], say: Say
) -> tuple[StreamAppError | None, bool]:
    """Return (the error a worker ended with, whether it ended)."""
    assert worker.pipe is not None  # noqa: S101 - only those with a pipe are heard
    try:
        said = worker.pipe.recv()
    except (EOFError, OSError):
        return (
            StreamAppError(
                f"worker {worker.number} died without a word, as by kill -9 or for want of memory.",
                attempt="the same command again: nothing is lost; dmesg tells of killed processes",
            ),
            True,
        )
    if isinstance(said, Ended):
        if said.trace:
            logging.getLogger("stream_app").debug(said.trace)
        return said.error, True
    if isinstance(said, Logged):
        log_again(said)
        return None, False
    if isinstance(said, Owned):
        worker.owned, worker.lived = said.partitions, True
        said = Owned(said.pipeline, tuple({p: None for w in workers for p in w.owned}))
    say(said)
    return None, False


def _spawn(
    work: Work, plan: Any, number: int, share: Sequence[Place], until: Any
) -> tuple[Any, Connection]:
    ours, theirs = CONTEXT.Pipe()
    args = (work, plan, number, share, until, theirs, levels_here(), dict(os.environ))
    process = CONTEXT.Process(target=_child, args=args, name=f"worker-{number}")
    with deaf():
        process.start()
    theirs.close()
    return process, ours


def _impatient(stopped: StopFlag) -> bool:
    """Tell whether somebody has asked again for the end."""
    return stopped.signals >= PATIENCE_SIGNALS


def _end(process: Any, stopped: StopFlag) -> None:
    """Wait for a worker's end, and make an end of it when somebody asks again."""
    while process.is_alive():
        if _impatient(stopped):
            process.kill()  # reaches a frozen process too
        process.join(LOOK_EVERY_S)


def _stop_all(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.pipe is not None:
            with contextlib.suppress(OSError):  # it has ended already
                worker.pipe.send("stop")


def _child(
    work: Work,
    plan: Any,
    number: int,
    partitions: Sequence[Place],
    until: Any,
    pipe: Connection,
    levels: Levels,
    environment: dict[str, str],
) -> None:
    """Be one worker; the parent's death ends it as a stop does."""
    # What this was forked from has the environment of when that began.
    os.environ.clear()
    os.environ.update(environment)
    sending = threading.Lock()

    def say(word: Any) -> None:
        with sending:
            pipe.send(word)

    relay_logs(say, levels)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    flag = StopFlag()
    signal.signal(signal.SIGTERM, flag._handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def stopped() -> bool:
        if pipe.poll():
            with contextlib.suppress(EOFError, OSError):  # the parent is gone: stop as well
                pipe.recv()
            flag.set()
        return flag()

    error: StreamAppError | None = None
    trace = ""
    try:
        work(plan, partitions, until, say, stopped)
    except StreamAppError as known:
        error = known
    except BrokenPipeError:
        return  # the parent is gone in the middle of a word; nobody is there to be told
    except Exception as unexpected:
        trace = traceback.format_exc()
        error = lacking(unexpected) or StreamAppError(
            f"worker {number}: unexpected {type(unexpected).__name__}: {unexpected}",
            attempt="the same command with --log-level debug shows where",
        )
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        say(Ended(number, error, trace))
