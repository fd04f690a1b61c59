"""What only a worker that stays shows: latency, a start after kill -9, a partition that moves."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from peers.contract import peak_mb

from on_kafka.ground import fresh
from on_kafka.rows import OURS, Place, Row, Worker, running
from on_kafka.traffic import Traffic, traffic
from scripts.broker.server import free_ports

RATE = 100.0  # of everything but the latency at half of the maximum
WARM_S = 2.5
STARTS_WITHIN_S = 90.0
PARTITIONS = 4


class Stuck(Exception):
    """No prediction came in time."""


class Latency(NamedTuple):
    """How late predictions are at a rate that was sent; `answered` of `sent` came."""

    rate: float
    p50_ms: float
    p99_ms: float
    answered: int
    sent: int


class Move(NamedTuple):
    """The longest pauses in the predictions of partitions, in seconds.

    `opening` is the part of it in which the new owner opened and restored them, where it was seen.
    """

    stood_still: dict[int, float]
    opening: dict[int, float]
    stayed: dict[int, float]


@contextmanager
def placed(broker: str, peers_python: Path, partitions: int = 1) -> Iterator[Place]:
    """Give a measure topics and a directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Place(fresh(broker, partitions), peers_python, Path(folder))


async def started(moving: Traffic, row: Row) -> None:
    """Send until the first prediction comes."""
    if await _send_until(moving, lambda: bool(moving.seen), STARTS_WITHIN_S):
        return
    raise Stuck(f"{row.title}: no prediction within {STARTS_WITHIN_S:.0f} s of its start")


async def _send_until(moving: Traffic, condition: Callable[[], object], seconds: float) -> bool:
    sending = asyncio.create_task(moving.send(RATE, seconds))
    try:
        return await moving.until(condition, seconds)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def latencies(
    row: Row, place: Place, rates: list[float], seconds: float
) -> tuple[list[Latency], list[float]]:
    """Return the latency at each rate, and the peak memory in MB of each of its processes."""
    with running(Worker(row, place)) as worker:
        found = asyncio.run(_latencies(row, place, rates, seconds))
        return found, [peak_mb(pid) for pid in worker.pids]


async def _latencies(row: Row, place: Place, rates: list[float], seconds: float) -> list[Latency]:
    found = []
    async with traffic(place.connection) as moving:
        await started(moving, row)
        await moving.send(RATE, WARM_S)
        for rate in rates:
            began = time.perf_counter()
            names = await moving.send(rate, seconds)
            sent_s = time.perf_counter() - began
            await moving.until(partial(_all_in, moving.seen, names), seconds + 10)
            late = sorted(moving.seen[n] - moving.sent[n] for n in names if n in moving.seen)
            if not late:
                raise Stuck(f"{row.title}: no prediction at {rate:.0f} events/s")
            p50, p99 = late[len(late) // 2] * 1000, late[int(len(late) * 0.99)] * 1000
            found.append(Latency(len(names) / sent_s, p50, p99, len(late), len(names)))
    return found


def _all_in(seen: Mapping[str, float], names: Sequence[str]) -> bool:
    return all(name in seen for name in reversed(names))


def restarts(row: Row, place: Place, times: int, *, whole: bool) -> list[float]:
    """Kill -9 under load, again and again; returns the seconds to the first new prediction.

    `whole`: all processes are killed and the same command is given again at once, as a container
    is started again. Otherwise only the working process, which its parent starts again.
    """
    return asyncio.run(_restarts(row, place, times, whole))


async def _restarts(row: Row, place: Place, times: int, whole: bool) -> list[float]:
    found = []
    worker = Worker(row, place)
    async with traffic(place.connection) as moving:
        try:
            await started(moving, row)
            for _ in range(times):
                await moving.send(RATE, WARM_S)
                killed = time.perf_counter()
                if whole:
                    worker.kill()
                    worker = Worker(row, place)
                else:
                    os.kill(worker.pids[-1], signal.SIGKILL)
                found.append(await _first_new(moving, row, killed))
        finally:
            if not worker.ended():
                worker.kill()
    return found


async def _first_new(moving: Traffic, row: Row, killed: float) -> float:
    """Return how long after the kill an event that was sent after it was answered."""
    known = len(moving.seen)

    def new() -> list[float]:
        fresh_ones = list(moving.seen.items())[known:]
        return [at for name, at in fresh_ones if moving.sent[name] > killed]

    if not await _send_until(moving, new, STARTS_WITHIN_S):
        raise Stuck(f"{row.title}: no new prediction within {STARTS_WITHIN_S:.0f} s of a kill")
    return new()[0] - killed


def hand_over(place: Place) -> tuple[Move, Move]:
    """Return how partitions moved to a second worker of this project that came, and back.

    The workers have directories of their own and one seal key, as on two machines.
    """
    key = place.folder / "seal.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(32))
    os.environ["STREAM_APP_SEAL_KEY_FILE"] = str(key)
    return asyncio.run(_hand_over(place))


async def _hand_over(place: Place) -> tuple[Move, Move]:
    first, second = (place._replace(folder=place.folder / name) for name in ("a", "b"))
    first.folder.mkdir()
    second.folder.mkdir()
    port = free_ports().client
    options = ("--http", str(port))
    async with traffic(place.connection, PARTITIONS) as moving:
        with running(Worker(OURS, first, model_per="partition")):
            await _send_until(moving, lambda: all(moving.arrivals.values()), STARTS_WITHIN_S)
            await moving.send(RATE, WARM_S)
            began = time.perf_counter()
            with running(Worker(OURS, second, model_per="partition", options=options)) as joined:
                opening = Opening(port)
                watching = asyncio.create_task(opening.watch())
                if not await _send_until(moving, opening.over, STARTS_WITHIN_S):
                    raise Stuck(f"nothing has moved within {STARTS_WITHIN_S:.0f} s")
                watching.cancel()
                await moving.send(RATE, WARM_S)
                to_second = _pauses(moving, began, opening.seconds())
                began = time.perf_counter()
                leaving = asyncio.get_running_loop().run_in_executor(None, joined.terminate)
                await _send_until(moving, leaving.done, STARTS_WITHIN_S)
                await moving.send(RATE, WARM_S)
                back = _pauses(moving, began, dict.fromkeys(to_second.stood_still))
    return to_second, back


def _pauses(moving: Traffic, began: float, moved: Mapping[int, float | None]) -> Move:
    pauses = {}
    for partition, arrivals in moving.arrivals.items():
        times = [began, *(at for at in arrivals if at >= began), time.perf_counter()]
        pauses[partition] = max(b - a for a, b in itertools.pairwise(times))
    return Move(
        stood_still={partition: pauses[partition] for partition in moved},
        opening={partition: took for partition, took in moved.items() if took is not None},
        stayed={partition: s for partition, s in pauses.items() if partition not in moved},
    )


class Opening:
    """What `/readyz` of a worker that joins tells of the partitions that come to it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._first: dict[int, float] = {}
        self._live: dict[int, float] = {}

    async def watch(self) -> None:
        """Ask until cancelled."""
        while True:
            rows = await asyncio.get_running_loop().run_in_executor(None, _asked, self._port)
            now = time.perf_counter()
            # All of them are what a start says before the group has shared them out.
            if len(rows) < PARTITIONS:
                for row in rows:
                    self._first.setdefault(row["partition"], now)
                    if row["state"] == "live":
                        self._live.setdefault(row["partition"], now)
            await asyncio.sleep(0.01)

    def over(self) -> bool:
        """Tell whether some partitions came and all of them are live."""
        return bool(self._first) and self._first.keys() == self._live.keys()

    def seconds(self) -> dict[int, float]:
        """Return how long each took from coming to being live."""
        return {number: at - self._first[number] for number, at in self._live.items()}


def _asked(port: int) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        body = json.load(error)
    except OSError:
        return []
    return list(body["partitions"])
