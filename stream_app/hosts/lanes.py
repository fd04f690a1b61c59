"""Partitions in threads of their own: each opens, learns and ends without holding up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Set
from typing import Any, Generic, Protocol, TypeVar

from stream_app.errors import Fenced, LogBusy, StateUnavailable, StreamAppError
from stream_app.records import Place

# Where two workers of one machine share a state directory, the one that has to let a partition go
# may still be at it.
OPEN_TRIES_S = 30.0
# A partition that somebody else has taken over, although the group says that it is ours.
DISPUTE_S = 20.0
STUCK_S = 120.0
_AGAIN_S = 0.5


class Host(Protocol):
    """What a lane works on; leaves out the work, which is `serve`'s."""

    def finish(self) -> None:
        """End in good order what is in flight."""

    def close(self) -> None:
        """Let go, however the work ended."""


P = TypeVar("P", bound=Place)
H = TypeVar("H", bound=Host)


class Lane(Generic[P, H]):
    """One partition's thread, from opening it to letting it go.

    `serve` is called with the host, again and again, until it has nothing more to do or the lane
    is told to leave; it returns whether it wants to be called again.
    """

    def __init__(
        self, partition: P, open_host: Callable[[P], H], serve: Callable[[H], bool]
    ) -> None:
        self.partition = partition
        self.error: BaseException | None = None
        self.ended_at_s: float | None = None
        self.done = False
        self.host: H | None = None
        self.beat_s = time.monotonic()
        self._open_host = open_host
        self._serve = serve
        self._leaving = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"partition-{partition}", daemon=True
        )
        self._thread.start()

    def leave(self) -> None:
        """Ask the lane to commit what is in flight, save and let go; returns at once."""
        self._leaving.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the lane's end; False when it has not come in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def left(self) -> bool:
        """Whether the lane was asked to leave."""
        return self._leaving.is_set()

    def _run(self) -> None:
        try:
            self.host = self._opened()
            if self.host is not None:
                self._work(self.host)
        except BaseException as error:
            self.error = error
        finally:
            self.ended_at_s = time.monotonic()

    def _opened(self) -> H | None:
        deadline = time.monotonic() + OPEN_TRIES_S
        while not self.left:
            self.beat_s = time.monotonic()
            try:
                return self._open_host(self.partition)
            except (LogBusy, StateUnavailable):
                if time.monotonic() > deadline:
                    raise
                self._leaving.wait(_AGAIN_S)
        return None

    def _work(self, host: H) -> None:
        try:
            while not self.left and self._serve(host):
                self.beat_s = time.monotonic()
            host.finish()
            self.done = not self.left
        finally:
            host.close()


class Lanes(Generic[P, H]):
    """The lanes of one worker; `assign` moves them to the partitions that are its own now."""

    def __init__(self, open_host: Callable[[P], H], serve: Callable[[H], bool]) -> None:
        self._open_host = open_host
        self._serve = serve
        self._lanes: dict[P, Lane[P, H]] = {}
        self._leaving: list[Lane[P, H]] = []
        self._lock = threading.Lock()

    def assign(self, partitions: Set[P]) -> None:
        """Open what is new and let go of the rest; what stays ours is not held up."""
        with self._lock:
            for number in sorted(self._lanes.keys() - partitions, key=str):
                lane = self._lanes.pop(number)
                lane.leave()
                self._leaving.append(lane)
            for number in sorted(partitions, key=str):
                known = self._lanes.get(number)
                if known is None or isinstance(known.error, Fenced):
                    self._lanes[number] = Lane(number, self._open_host, self._serve)

    def hosts(self) -> list[H]:
        """Return what every lane that is open works on."""
        with self._lock:
            return [lane.host for lane in self._lanes.values() if lane.host is not None]

    def all_done(self) -> bool:
        """Tell whether there are lanes and each has ended because nothing is left to do."""
        with self._lock:
            return bool(self._lanes) and all(lane.done for lane in self._lanes.values())

    def check(self) -> None:
        """Raise what ended a lane, or that one is stuck.

        A fenced lane is no error at first: another member has its partition before we are told.
        """
        now = time.monotonic()
        with self._lock:
            for lane in [*self._lanes.values(), *self._leaving]:
                _check(lane, now)
            self._leaving = [lane for lane in self._leaving if lane.ended_at_s is None]

    def close(self, timeout_s: float) -> None:
        """Let go of all partitions in good order; raises when that takes too long."""
        with self._lock:
            lanes = [*self._lanes.values(), *self._leaving]
        for lane in lanes:
            lane.leave()
        deadline = time.monotonic() + timeout_s
        late = [lane for lane in lanes if not lane.join(max(0.0, deadline - time.monotonic()))]
        if late:
            raise _stuck(late[0], timeout_s)
        for lane in lanes:
            if lane.error is not None and not isinstance(lane.error, Fenced):
                raise lane.error


def _check(lane: Lane[Any, Any], now: float) -> None:
    error = lane.error
    if isinstance(error, Fenced):
        disputed_s = now - (lane.ended_at_s or now)
        if lane.left or disputed_s < DISPUTE_S:
            return
    if error is not None:
        raise error
    if lane.ended_at_s is None and now - lane.beat_s > STUCK_S:
        raise _stuck(lane, STUCK_S)


def _stuck(lane: Lane[Any, Any], seconds: float) -> StreamAppError:
    return StreamAppError(
        f"partition {lane.partition} has made no step for {seconds:.0f} s.",
        attempt="the same command again: nothing is lost; --log-level debug shows more",
    )
