"""A process that forks one mortal after the other; each runs a pipeline and dies where it is told.

The imports are paid once. What is forked has opened neither log nor state before.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from stream_app.core.memory import Memory
from stream_app.kafka.log import KafkaLog
from tests.kafka.machine import KafkaMachine
from tests.recovery.keeping import KeepingMachine
from tests.recovery.machine import EveryNth, Machine
from tests.recovery.pipelines import PIPELINES

ROOT = Path(__file__).parents[2]
BATCH = 40
CHECKPOINT_EVERY = 3
MEMORY = Memory(live_max=3, rest_bytes_max=0, changes_max=120)


class Life(msgspec.Struct, frozen=True):
    """One run over the machine in `root`; it dies when `step` is reached the `nth` time.

    With `bootstrap` its log is on Kafka; `overlapping` publishes one batch while it learns the
    next. With `keeps` it keeps a checkpoint every so many records.
    """

    root: str
    pipeline: str
    step: str | None = None
    nth: int = 1
    bootstrap: str | None = None
    prefix: str = ""
    overlapping: bool = False
    keeps: int | None = None

    def machine(self) -> Machine:
        if self.keeps is not None:
            return KeepingMachine(Path(self.root), self.keeps)
        if self.bootstrap is None:
            return Machine(Path(self.root))
        return KafkaMachine(Path(self.root), self.bootstrap, self.prefix)


class Death(msgspec.Struct, frozen=True):
    """How it ended: by SIGKILL or not, and if not with which exit code and in how many steps."""

    killed: bool
    code: int
    steps: dict[str, int]


def live(life: Life) -> dict[str, int]:
    """Process the machine's log to its end, save, and return how often each step was reached."""
    pipeline = PIPELINES[life.pipeline]
    machine = life.machine()
    steps: Counter[str] = Counter()

    def reached(step: str) -> None:
        steps[step] += 1
        if step == life.step and steps[step] == life.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    with closing(machine.log()) as log:
        if isinstance(log, KafkaLog):
            log.reached = reached
        host = machine.open(
            log,
            pipeline,
            reached=reached,
            pace=EveryNth(CHECKPOINT_EVERY),
            memory=MEMORY,
            publisher=ThreadPoolExecutor(1) if life.overlapping else None,
        )
        while host.step(BATCH):
            pass
        reached("shutdown")
        host.finish()
        reached("closing")
        host.close()
        reached("closed")
    return steps


def _forked(life: Life) -> Death:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writer, msgspec.json.encode(live(life)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    status = os.waitpid(pid, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return Death(killed, code, msgspec.json.decode(said, type=dict[str, int]) if said else {})


class Mortals:
    """The forking process, seen from a test."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self, life: Life) -> Death:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(life) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Death)


@contextmanager
def mortals() -> Iterator[Mortals]:
    """Start the forking process, and end it afterwards."""
    command = [sys.executable, "-m", "tests.recovery.mortal"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Mortals(process)
        finally:
            process.kill()


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        death = _forked(msgspec.json.decode(line, type=Life))
        sys.stdout.buffer.write(msgspec.json.encode(death) + b"\n")
        sys.stdout.buffer.flush()
