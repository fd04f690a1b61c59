"""Doubles of log, disk and machine that do what the real ones may do, when the dice say so.

What a process holds (`Life`) goes dead with it: whatever its code still does on the way out, as
Python's clean-up does and a killed process does not, reaches nothing.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from stream_app.core.log import Claim
from stream_app.core.position import Position, read_position
from stream_app.core.store import Image
from stream_app.errors import LogUnavailable, StateUnavailable
from stream_app.hosts.checkpoint_pace import Pace
from stream_app.records import Output, Record
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore

Families = dict[str, dict[bytes, bytes]]


class Crash(BaseException):
    """The process is gone: kill -9, a power cut, a panic."""


class Life:
    """One process, and what is to befall it."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.dead = False
        self.calls: list[str] = []
        self.in_flight: list[Lazy] = []
        # What watches its lines of code while it is not its turn.
        self.tracer: Any = None
        # Where it dies: so many calls of doubles from here, and lines of code from there on.
        self.dies_after_calls: int | None = None
        self.dies_after_lines = 0
        # How often a call goes well before it fails, and whether one has failed.
        self.fails_after: dict[str, int] = {}
        self.failed = False

    def die(self) -> Crash:
        """Return what ends everything; a publish on its way may still arrive, or never."""
        self.dead = True
        for lazy in self.in_flight:
            if self.draw.random() < 0.5:
                lazy.arrive()
        return Crash()

    def reached(self, call: str) -> None:
        """Be somewhere: raises `Crash` where the process dies, and always when it is dead."""
        if self.dead:
            raise Crash
        if self.dies_after_calls is not None:
            self.dies_after_calls -= 1
            if self.dies_after_calls < 0 and self.dies_after_lines == 0:
                raise self.die()
            if self.dies_after_calls == -1:
                _trace(self)

    def fails(self, call: str) -> bool:
        """Tell whether this call is the one that fails."""
        if call not in self.fails_after:
            return False
        self.fails_after[call] -= 1
        failing = self.fails_after[call] < 0
        self.failed = self.failed or failing
        return failing

    def spare(self) -> None:
        """Let nothing more befall it; what has, it may be told of yet, by a publish on its way."""
        self.dies_after_calls, self.fails_after, self.tracer = None, {}, None


@contextmanager
def turn_of(life: Life) -> Iterator[None]:
    """Let one process go on while another one, which may be at any line of code, stands still."""
    before = sys.gettrace()
    sys.settrace(life.tracer)
    try:
        yield
    finally:
        life.tracer = sys.gettrace()
        sys.settrace(before)


@contextmanager
def nobodys_turn() -> Iterator[None]:
    """Run lines of code at which no process can die: those of who looks on."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


class Lazy(Future[Any]):
    """A call that is made some time before its result is asked for, as by another thread."""

    def __init__(self, life: Life, call: Callable[[], Any]) -> None:
        super().__init__()
        self._life = life
        self._call: Callable[[], Any] | None = call

    def arrive(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        if call is None:
            return
        try:
            self.set_result(call())
        except BaseException as error:
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call does, which is made now at the latest."""
        self.arrive()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what went wrong; whoever is dead does not wait for it."""
        if self._life.dead:
            return None
        self.arrive()
        return super().exception(timeout)


class Publisher(Executor):
    """Publishes at once, or not before the result is asked for."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a call."""
        lazy = Lazy(self._life, lambda: call(*args, **kwargs))
        self._life.in_flight = [lazy]
        if self._life.draw.random() < 0.3:
            lazy.arrive()
        return lazy


class SimPace(Pace):
    """Checkpoints whenever the dice say so."""

    def __init__(self, life: Life, share: float) -> None:
        super().__init__()
        self._life = life
        self._share = share

    def due(self) -> bool:
        """Tell whether it is time."""
        return self._life.draw.random() < self._share


class Disk:
    """One machine's state directory for the partition: what it holds, and what it held before."""

    def __init__(self, families: Families | None = None) -> None:
        self.history: list[Families] = [families if families is not None else {}]

    @property
    def families(self) -> Families:
        """What it holds."""
        return self.history[-1]

    def write(self, families: Families) -> None:
        """Hold something else from now on."""
        self.history.append(families)

    def rolled_back(self, draw: random.Random) -> Disk:
        """Return a disk with what this one held at some time, be it nothing."""
        return Disk(_copied(draw.choice([{}, *self.history])))

    def forget_beyond(self, next_offset: int) -> None:
        """Forget what it held of a time after a position, but for what it holds."""
        before = [row for row in self.history[:-1] if (saved_to(row) or 0) <= next_offset]
        self.history = [*before, self.families]


class SimStore(MemoryStore):
    """A store on a `Disk`: an image is written whole or not at all, and writes and reads fail."""

    def __init__(self, life: Life, disk: Disk) -> None:
        super().__init__()
        self._life = life
        self._disk = disk
        self._families = _copied(disk.families)

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the saved value."""
        self._life.reached("get")
        if self._life.fails("get"):
            raise StateUnavailable("input/output error", attempt="another disk")
        return super().get(family, key)

    def scan(
        self, family: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return saved entries."""
        self._life.reached("scan")
        return super().scan(family, start, stop, limit)

    def save(self, image: Image) -> None:
        """Write an image; an fsync that fails leaves open whether it is there."""
        self._life.reached("before save")
        if self._life.fails("save"):
            if self._life.draw.random() < 0.5:
                self._write(image)
            raise StateUnavailable("no space left on device", attempt="free some")
        self._write(image)
        self._life.reached("after save")

    def _write(self, image: Image) -> None:
        super().save(image)
        self._disk.write(_copied(self._families))

    def drop(self, family: str) -> None:
        """Remove a family, durably."""
        self._life.reached("before drop")
        super().drop(family)
        self._disk.write(_copied(self._families))

    def close(self) -> None:
        """Let go; a dead process does nothing more."""
        if not self._life.dead:
            super().close()


class SimClaim:
    """A claim whose publish dies or fails before or after it took effect."""

    def __init__(
        self, life: Life, claim: Claim, witness: Callable[[bytes, int | None], None]
    ) -> None:
        self._life = life
        self._claim = claim
        self._witness = witness

    @property
    def epoch(self) -> int:
        """The claim's number."""
        return self._claim.epoch

    def committed(self) -> bytes | None:
        """Return the newest commit."""
        self._life.reached("committed")
        return self._claim.committed()

    def publish(
        self, outputs: Sequence[Output], commit: bytes, *, expected: int | None, next_offset: int
    ) -> None:
        """Publish, or fail; whoever hears of a failure does not know whether it took effect."""
        life = self._life
        if not life.dead:
            life.reached("before publish")
        failing = life.fails("publish")
        if failing and life.draw.random() < 0.5:
            raise LogUnavailable("connection refused", attempt="look at the broker")
        self._claim.publish(outputs, commit, expected=expected, next_offset=next_offset)
        with nobodys_turn():
            self._witness(commit, expected)
        if failing:
            raise LogUnavailable("connection lost", attempt="look at the broker")
        if not life.dead:
            life.reached("after publish")

    def release(self) -> None:
        """Give the claim back; a dead process does nothing more."""
        if not self._life.dead:
            self._claim.release()


class SimLog:
    """The log as one process sees it: it reads as few records as it likes, and fails.

    `witness` hears of (ledger, commit, expected) whenever something has been published.
    """

    def __init__(
        self,
        life: Life,
        log: MemoryLog,
        lost_below: int = 0,
        witness: Callable[[str, bytes, int | None], None] = lambda *_: None,
    ) -> None:
        self._life = life
        self._log = log
        self._lost_below = lost_below
        self._witness = witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def claim(self, ledger: str, partition: int) -> SimClaim:
        """Fence any previous owner."""
        self._life.reached("claim")
        claim = self._log.claim(ledger, partition)
        return SimClaim(self._life, claim, partial(self._witness, ledger))

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the bounds; retention may have been quicker than we are."""
        start, end = self._log.bounds(topic, partition)
        if topic.endswith(".events"):
            start = max(start, self._lost_below)
        return start, end

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 1 << 24
    ) -> list[Record]:
        """Return some records, at least one if there is one."""
        self._life.reached("read")
        if self._life.fails("read"):
            raise LogUnavailable("connection reset", attempt="look at the broker")
        if self._life.draw.random() < 0.5:
            records_max = self._life.draw.randint(1, records_max)
        return self._log.read(
            topic, partition, offset, records_max=records_max, bytes_max=bytes_max
        )


def _trace(life: Life) -> None:
    """Count lines of the fold and its host from here on, and die at the last one."""

    def at_line(_frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            life.dies_after_lines -= 1
            if life.dies_after_lines == 0:
                raise life.die()
        return at_line

    def at_call(frame: FrameType, _event: str, _arg: Any) -> Any:
        name = frame.f_code.co_filename
        return at_line if "/stream_app/core/" in name or "/stream_app/hosts/" in name else None

    frame: FrameType | None = sys._getframe()
    while frame is not None:  # those that are in the middle of a function already
        if at_call(frame, "call", None) is not None:
            frame.f_trace = at_line
        frame = frame.f_back
    sys.settrace(at_call)


def _copied(families: Mapping[str, Mapping[bytes, bytes]]) -> Families:
    return {family: dict(rows) for family, rows in families.items()}


def saved_to(families: Families) -> int | None:
    """Return up to where it is that a disk holds what was learned; None where it holds nothing."""
    position = position_of(families)
    return None if position is None else position.next_offset


def position_of(families: Families) -> Position | None:
    """Return the position that a disk holds."""
    store = MemoryStore()
    store._families = families
    return read_position(store)
