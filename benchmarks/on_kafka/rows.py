"""The rows: which program each is, and how it is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from on_kafka.ground import EVENTS, PREDICTIONS
from stream_app.kafka.connection import Connection

BENCHMARKS = Path(__file__).parents[1]
ENOUGH_S = 300.0
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
PIPELINE = """
import sys
sys.path.insert(0, {folder!r})
from foundation import pipeline as make
pipeline = make(model_per={model_per!r})
"""


class Row(NamedTuple):
    """One system with its settings; `worker` tells whether it goes on after a kill where it was.

    `own_environment` says that its packages are not the project's.
    """

    name: str
    title: str
    module: str
    options: tuple[str, ...] = ()
    worker: bool = True
    own_environment: bool = False


def _quix(name: str, title: str, guarantee: str, model: str) -> Row:
    options = ("--guarantee", guarantee, "--model", model)
    return Row(name, title, "quix_streams", options, own_environment=True)


OURS = Row("stream-app", "this project, exactly once", "stream_app_worker")
ROWS = (
    Row("aiokafka", "plain aiokafka loop, no guarantee", "aiokafka_loop", worker=False),
    OURS,
    _quix("quix-store", "Quix Streams, exactly once, model in store", "exactly-once", "store"),
    _quix(
        "quix-process", "Quix Streams, exactly once, model in process", "exactly-once", "process"
    ),
    _quix(
        "quix-at-least", "Quix Streams, at least once, model in process", "at-least-once", "process"
    ),
    Row("faust", "Faust agent, at least once, model in process", "faust_agent"),
)


class Failed(Exception):
    """A row ended with an error."""


class Measured(NamedTuple):
    """What a row told of its work."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Place(NamedTuple):
    """Where rows run: the cluster with the topics of one measure, and the peers' interpreter."""

    connection: Connection
    peers_python: Path
    folder: Path


def drain(row: Row, place: Place, events: int) -> Measured:
    """Run a row over a filled topic to its end."""
    command = _command(row, place, events)
    done = subprocess.run(
        command,
        cwd=BENCHMARKS,
        env=_environment(),
        capture_output=True,
        timeout=ENOUGH_S,
        check=False,
        text=True,
    )
    if done.returncode:
        raise Failed(f"{row.title} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _environment() -> dict[str, str]:
    """Return this process's environment, in which Python may keep what it compiles.

    Otherwise every start compiles all that the installer has not, which is another thing in
    another environment and nothing of the systems compared.
    """
    return {name: set_to for name, set_to in os.environ.items() if name != NO_BYTECODE}


def _command(row: Row, place: Place, events: int) -> list[str]:
    prefix = place.connection.prefix
    python = str(place.peers_python) if row.own_environment else sys.executable
    command = [python, "-m", f"peers.{row.module}", *row.options]
    command += ["--broker", place.connection.servers[0], "--events", str(events)]
    command += ["--events-topic", prefix + EVENTS, "--predictions-topic", prefix + PREDICTIONS]
    command += ["--group", f"{prefix}group", "--name", f"{prefix}worker-0"]
    return [*command, "--state", str(place.folder / "state")]


class Worker:
    """A row's processes, started as a person would; those of this project by `stream-app run`.

    They are a process group of their own, which is what is killed.
    """

    def __init__(
        self,
        row: Row,
        place: Place,
        *,
        model_per: str = "pipeline",
        options: Sequence[str] = (),
    ) -> None:
        command = _command(row, place, 0)
        environment = _environment() | {"STREAM_APP_KAFKA_TOPIC_PREFIX": place.connection.prefix}
        if row is OURS:
            file = place.folder / "bench.py"
            file.write_text(PIPELINE.format(folder=str(BENCHMARKS), model_per=model_per))
            command = [sys.executable, "-m", "stream_app", "run", str(file), *options]
            command += ["--broker", place.connection.url, "--state", str(place.folder / "state")]
        self._process = subprocess.Popen(
            command,
            cwd=BENCHMARKS,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pids(self) -> list[int]:
        """The process that was started, and those below it."""
        return [self._process.pid, *_descendants(self._process.pid)]

    def kill(self) -> None:
        """Send SIGKILL to all of them."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """Ask for the end in good order, and wait for it."""
        self._process.terminate()
        self._process.wait(60)

    def ended(self) -> bool:
        """Tell whether it runs no more."""
        return self._process.poll() is not None


def _descendants(pid: int) -> list[int]:
    """Return the processes below one, but Python's tracker of resources, which does no work."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    working = [c for c in found if b"resource_tracker" not in _command_line(c)]
    return [*working, *(below for child in working for below in _descendants(child))]


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    """End a worker's processes whatever happens."""
    try:
        yield worker
    finally:
        if not worker.ended():
            worker.kill()
