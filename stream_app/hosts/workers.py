"""Several worker processes that share a pipeline's partitions; and the one-process case."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec

from stream_app.core.commit import Commit, decode_commit
from stream_app.core.lineage import versions_to_host
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import StreamAppError
from stream_app.hosts.embedded import Notice, Progress, notices, open_hosts, run_hosts
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register, require_settings
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.stop_flag import StopFlag

Say = Callable[[Progress | Notice], None]
PATIENCE_SIGNALS = 2
LOOK_EVERY_S = 0.2


class RunPlan(msgspec.Struct, frozen=True):
    """What `run` was asked for; `versions` None means all, and those in `drop` end for good."""

    spec: str
    broker: str
    state: str
    versions: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    partitions: int | None = None
    workers: int = 1
    until_end: bool = False


class Ended(msgspec.Struct, frozen=True):
    """How a worker process ended: in good order, or by an error.

    `trace` is the traceback of an error that nobody expected.
    """

    worker: int
    error: StreamAppError | None
    trace: str = ""


def run(plan: RunPlan, say: Say, stopped: StopFlag) -> None:
    """Run a pipeline until it is stopped or, with `until_end`, until the log's present end.

    Raises what the first failing partition raised, after every worker has ended. The first signal
    lets workers end in good order; the second kills those that still run, which loses nothing.
    """
    pipeline = load_pipeline(plan.spec)
    state = StateDirectory(Path(plan.state))
    log = open_broker(plan.broker, create=True)
    try:
        hosted = versions_to_host(pipeline, _commits(log, pipeline.name), plan.versions, plan.drop)
        plan = msgspec.structs.replace(plan, versions=hosted)
        manifest = register(log, pipeline, state.public_keys, partitions=plan.partitions)
        require_settings(log, manifest, pipeline)
        state.seal()
        events = Topics(pipeline.name).events
        until = {p: log.bounds(events, p)[1] for p in range(manifest.partitions)}
    finally:
        log.close()
    for note in pipeline.notes():
        say(Notice(None, note))
    workers = min(plan.workers, manifest.partitions)
    shares = [tuple(range(i, manifest.partitions, workers)) for i in range(workers)]
    if workers == 1:
        _work(plan, shares[0], until if plan.until_end else None, say, stopped)
    else:
        _supervise(plan, shares, until if plan.until_end else None, say, stopped)


def _commits(log: Log, name: str) -> list[Commit]:
    """Return what a pipeline's partitions have committed so far."""
    topics = Topics(name)
    found = [
        log.ledger_get(topics.ledger, partition, "commit")
        for partition in range(log.topics().get(topics.events, 0))
    ]
    return [decode_commit(commit, name) for commit in found if commit is not None]


def _work(
    plan: RunPlan,
    partitions: Sequence[int],
    until: dict[int, int] | None,
    say: Say,
    stopped: Callable[[], bool],
) -> None:
    """Run some partitions in this process."""
    pipeline = load_pipeline(plan.spec)
    state = StateDirectory(Path(plan.state))
    log = open_broker(plan.broker)
    try:
        manifest = register(log, pipeline, state.public_keys)
        hosts = open_hosts(log, pipeline, manifest, state, partitions, versions=plan.versions)
        try:
            for host in hosts:
                for notice in notices(host):
                    say(notice)
            run_hosts(log, pipeline, hosts, stopped=stopped, until=until, report=say)
        finally:
            for host in hosts:
                host.close()
    finally:
        log.close()


def _supervise(
    plan: RunPlan,
    shares: Sequence[Sequence[int]],
    until: dict[int, int] | None,
    say: Say,
    stopped: StopFlag,
) -> None:
    """Spawn one process a share, pass on what they say, and end all when one fails.

    A worker that is frozen never hears that it is to stop: the second signal ends those too.
    """
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    # A terminal's Ctrl-C goes to all processes, and the parent decides what it means. Ignored
    # signals are inherited: a worker that is still importing must not die of one.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for i, share in enumerate(shares):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_child, args=(plan, i, share, until, theirs), name=f"worker-{i}", daemon=False
        )
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    signal.signal(signal.SIGINT, handler)
    first: StreamAppError | None = None
    told = False
    open_pipes = dict(enumerate(pipes))
    try:
        while open_pipes and not _impatient(stopped):
            if stopped() and not told:
                told = True
                _stop_all(list(open_pipes.values()))
            for ready in wait(list(open_pipes.values()), timeout=LOOK_EVERY_S):
                i = pipes.index(ready)  # type: ignore[arg-type]
                error, ended = _hear(pipes[i], i, say)
                if ended:
                    del open_pipes[i]
                if error is not None and first is None:
                    first = error
                    stopped.set()
    finally:
        _stop_all(list(open_pipes.values()))
        for process in processes:
            _end(process, stopped)
    if first is not None:
        raise first


def _impatient(stopped: StopFlag) -> bool:
    """Tell whether somebody has asked again for the end."""
    return stopped.signals >= PATIENCE_SIGNALS


def _end(process: BaseProcess, stopped: StopFlag) -> None:
    """Wait for a worker's end, and make an end of it when somebody asks again."""
    while process.is_alive():
        if _impatient(stopped):
            process.kill()  # reaches a frozen process too
        process.join(LOOK_EVERY_S)


def _hear(pipe: Connection, worker: int, say: Say) -> tuple[StreamAppError | None, bool]:
    """Return (the error a worker ended with, whether it ended)."""
    try:
        said = pipe.recv()
    except (EOFError, OSError):
        return (
            StreamAppError(
                f"worker {worker} died without a word, as by kill -9 or for want of memory.",
                attempt="the same command again: nothing is lost; dmesg tells of killed processes",
            ),
            True,
        )
    if isinstance(said, Ended):
        if said.trace:
            logging.getLogger("stream_app").debug(said.trace)
        return said.error, True
    say(said)
    return None, False


def _stop_all(pipes: list[Connection]) -> None:
    for pipe in pipes:
        try:
            pipe.send("stop")
        except OSError:
            continue  # it has ended already


def _child(
    plan: RunPlan,
    worker: int,
    partitions: Sequence[int],
    until: dict[int, int] | None,
    pipe: Connection,
) -> None:
    """Be one worker; the parent's death ends it as a stop does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    flag = StopFlag()
    signal.signal(signal.SIGTERM, flag._handle)

    def stopped() -> bool:
        if pipe.poll():
            with contextlib.suppress(EOFError, OSError):  # the parent is gone: stop as well
                pipe.recv()
            flag.set()
        return flag()

    error: StreamAppError | None = None
    trace = ""
    try:
        _work(plan, partitions, until, pipe.send, stopped)
    except StreamAppError as known:
        error = known
    except BrokenPipeError:
        return  # the parent is gone in the middle of a word; nobody is there to be told
    except Exception as unexpected:
        trace = traceback.format_exc()
        error = StreamAppError(
            f"worker {worker}: unexpected {type(unexpected).__name__}: {unexpected}",
            attempt="the same command with --log-level debug shows where",
        )
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        pipe.send(Ended(worker, error, trace))
