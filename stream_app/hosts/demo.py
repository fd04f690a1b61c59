"""The demo: real flights stream into a log while models learn, and both go on after any crash.

Three processes: a producer, a worker as `run` has it, and this one, which only reads the log and
so does without River.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import msgspec

from stream_app.core.log import Log
from stream_app.errors import StateUnavailable
from stream_app.hosts.demo_figures import Figures
from stream_app.hosts.demo_process import ChildProcess
from stream_app.hosts.demo_words import STOP, AllAppended, Began, Begin, Loaded, Noted
from stream_app.hosts.log_url import open_broker

REFRESH_S = 0.25
Show = Callable[[Figures | None, list[str]], None]


class DemoPlan(msgspec.Struct, frozen=True):
    """Where the demo lives, and how many days of 2013 it streams (None: all of them).

    `declaration` is the Python file that declares its pipeline, to be copied into `directory`.
    """

    directory: Path
    days: int | None
    declaration: Path

    @property
    def broker(self) -> str:
        """The log's URL."""
        return f"sqlite:///{self.directory / 'log.db'}"

    @property
    def state(self) -> Path:
        """The state's directory."""
        return self.directory / "state"

    @property
    def pipeline(self) -> Path:
        """The file that declares the pipeline; written once, and then its reader's own."""
        return self.directory / "flights.py"


class DemoEnd(msgspec.Struct, frozen=True):
    """How a run ended: the last figures if it began at all, and whether the days are over."""

    figures: Figures | None
    complete: bool


def run_demo(
    plan: DemoPlan,
    *,
    show: Show,
    stopped: Callable[[], bool],
) -> DemoEnd:
    """Stream and learn until the days are over, or until stopped.

    `show` is called a few times a second, with None until the log is there and with notes that a
    person should read. Raises what the worker or the producer raised, after both have ended.
    """
    _write_pipeline(plan)
    worker = ChildProcess(
        "worker",
        "stream_app.hosts.demo_worker:work",
        str(plan.pipeline),
        plan.broker,
        str(plan.state),
    )
    producer = ChildProcess(
        "producer", "stream_app.hosts.demo_producer:produce_flights", plan.broker, plan.days
    )
    demo = _Demo(plan, worker, producer, show)
    try:
        demo.follow(stopped)
        return demo.finish()
    finally:
        demo.close()


class _Demo:
    """The parent's side of one run."""

    def __init__(
        self,
        plan: DemoPlan,
        worker: ChildProcess,
        producer: ChildProcess,
        show: Show,
    ) -> None:
        self._plan = plan
        self._worker = worker
        self._producer = producer
        self._show = show
        self._log: Log | None = None
        self._figures: Figures | None = None
        self._pipeline = ""
        self._end: int | None = None

    def follow(self, stopped: Callable[[], bool]) -> None:
        """Show how it goes, until all is learned or somebody stops this process or the worker."""
        shown = 0.0
        while not (stopped() or self._worker.ended or self._all_learned()):
            pipes = [c.pipe for c in (self._worker, self._producer) if not c.ended]
            wait(pipes, timeout=REFRESH_S / 2)
            notes = self._hear()
            now = time.monotonic()
            if notes or now - shown >= REFRESH_S:
                shown = now
                if self._figures is not None:
                    self._figures.refresh()
                self._show(self._figures, notes)

    def _hear(self) -> list[str]:
        notes = []
        for word in self._worker.hear():
            if isinstance(word, Noted):
                notes.append(word.text)
            elif isinstance(word, Loaded):
                self._pipeline = word.pipeline
            elif isinstance(word, Began):
                self._begin()
        for word in self._producer.hear():
            if isinstance(word, AllAppended):
                self._end = word.end
        return notes

    def _begin(self) -> None:
        """Read, and let the producer begin: the worker runs, so log and topics are there."""
        self._log = open_broker(self._plan.broker, read_only=True)
        self._figures = Figures(self._log, self._pipeline)
        self._producer.tell(Begin(self._pipeline))

    def _all_learned(self) -> bool:
        commit = None if self._figures is None else self._figures.commit
        return self._end is not None and commit is not None and commit.next_offset >= self._end

    def finish(self) -> DemoEnd:
        """Stop both children in good order and read the rest of what they published."""
        if self._figures is None:
            return DemoEnd(None, complete=False)
        for child in (self._producer, self._worker):
            child.tell(STOP)
        for child in (self._producer, self._worker):
            child.finish()
        self._figures.read_all()
        return DemoEnd(self._figures, self._all_learned())

    def close(self) -> None:
        self._producer.close()
        self._worker.close()
        if self._log is not None:
            self._log.close()


def _write_pipeline(plan: DemoPlan) -> None:
    """Put the demo's pipeline beside its log, unless there is one already."""
    try:
        plan.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not plan.pipeline.exists():
            part = plan.pipeline.with_suffix(".part")
            part.write_bytes(plan.declaration.read_bytes())
            part.rename(plan.pipeline)
    except OSError as error:
        raise StateUnavailable(
            f"{plan.directory} cannot be written: {error.strerror or error}.",
            attempt="--directory with a place that is yours to write",
        ) from error
