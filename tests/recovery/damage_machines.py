"""The machines whose files are damaged: one log and state at four moments of its life."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from stream_app.core.topics import Topics
from stream_app.records import NewRecord
from tests.recovery.forks import in_fork
from tests.recovery.machine import EveryNth, Machine, Outcome
from tests.recovery.pipelines import small
from tests.recovery.storms import records

TOPICS = Topics(small().name)
BATCH = 20
CHECKPOINT_EVERY = 3


class Left(msgspec.Struct, frozen=True):
    """All that a machine leaves for others to read, and the events that it was made of."""

    outcome: Outcome
    events: list[tuple[int, bytes | None, bytes, tuple[tuple[str, bytes], ...]]]


class Moment(msgspec.Struct, frozen=True):
    """A machine as it was at one moment: `before` is the moment that older copies come from.

    `undisturbed` is what it leaves when nothing happens to it and it goes on to its log's end.
    `committed` is how far it had come.
    """

    name: str
    machine: Machine
    before: Machine | None
    committed: int
    undisturbed: Left


def left_by(machine: Machine) -> Left:
    """Read everything; raises what a reader would meet."""
    with closing(machine.log()) as log:
        rows = log.read(TOPICS.events, 0, 0, records_max=1 << 30, bytes_max=1 << 40)
    events = [(row.timestamp_ms, row.key, row.value, row.headers) for row in rows]
    return Left(machine.outcome(small()), events)


def _live(machine: Machine, until: int, *, killed: bool) -> None:
    """Process up to `until`, with checkpoints on the way; then die, or end in good order."""
    with closing(machine.log()) as log:
        host = machine.open(log, small(), pace=EveryNth(CHECKPOINT_EVERY))
        while host.step(BATCH, until):
            pass
        if killed:
            # What was written stays, with all that a close would have tidied up.
            os.kill(os.getpid(), signal.SIGKILL)
        host.finish()
        host.close()


def moments(folder: Path) -> list[Moment]:
    """Live one life below `folder` and keep what it was at four moments of it."""
    rows = records(150)
    machine = Machine(folder / "life")
    machine.root.mkdir()
    made: list[Moment] = []
    steps: list[tuple[str, list[NewRecord], Callable[[], None]]] = [
        ("young", rows[:120], lambda: _begin(machine)),
        ("rested", rows[120:200], lambda: _live(machine, 170, killed=False)),
        ("killed midway", rows[200:], lambda: _live(machine, 230, killed=True)),
        ("killed at its end", [], lambda: _live(machine, 1 << 30, killed=True)),
    ]
    for name, events, work in steps:
        in_fork(lambda events=events, work=work: _grow(machine, events, work))  # type: ignore[misc]
        kept = Machine(folder / name.replace(" ", "-"))
        shutil.copytree(machine.root, kept.root)
        before = made[-1].machine if made else None
        made.append(_moment(name, kept, before, folder))
    return made


def _begin(machine: Machine) -> None:
    """Nothing: the log is made, and nothing of it is processed."""


def _grow(machine: Machine, events: list[NewRecord], work: Callable[[], None]) -> None:
    if machine.log_path.exists():
        machine.append(small(), events)
    else:
        machine.begin(small(), events)
        machine.state.seal()
    work()


def _moment(name: str, kept: Machine, before: Machine | None, folder: Path) -> Moment:
    copy = Machine(folder / "undisturbed")
    shutil.copytree(kept.root, copy.root)
    committed = in_fork(lambda: _committed(copy))
    in_fork(lambda: copy.run(small()))
    undisturbed = in_fork(lambda: left_by(copy))
    shutil.rmtree(copy.root)
    assert isinstance(undisturbed, Left)
    assert isinstance(committed, int)
    return Moment(name, kept, before, committed, undisturbed)


def _committed(machine: Machine) -> int:
    if machine.outcome(small()).commit is None:
        return 0
    return machine.commit(small()).next_offset
