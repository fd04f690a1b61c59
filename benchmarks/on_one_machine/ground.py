"""A log, a state and a host in a folder of their own, and what a process takes of its machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stream_app import Pipeline
from stream_app.codec.encode import encode_event
from stream_app.core.memory import Memory
from stream_app.events import Event
from stream_app.hosts.checkpoint_pace import Pace
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.embedded import run_hosts
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.work import Work
from stream_app.records import NewRecord
from stream_app.storage.rocksdb_store import RocksdbStore

PAGE = os.sysconf("SC_PAGE_SIZE")
APPENDED = 5000  # records at once
Feed = Iterator[Event | NewRecord]


class Clock(NamedTuple):
    """Seconds by the wall and of this process's CPU."""

    wall: float
    cpu: float

    def __add__(self, other: object) -> Clock:
        assert isinstance(other, Clock)
        return Clock(self.wall + other.wall, self.cpu + other.cpu)


def timed(run: Callable[[], object]) -> Clock:
    """Return the seconds that `run` took."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Clock(time.perf_counter() - wall, time.process_time() - cpu)


def resident_mb(pid: int | str = "self") -> float:
    """Return the memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def files_open() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


def bytes_below(folder: Path) -> int:
    """Return what the files below a folder hold."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def load() -> str:
    """Say how busy the machine was, for whoever reads a figure."""
    return "load " + " ".join(f"{each:.1f}" for each in os.getloadavg())


class Never(Pace):
    """No checkpoint is ever due."""

    def due(self) -> bool:
        """Never."""
        return False


def records(events: Iterable[Event | NewRecord]) -> Iterator[NewRecord]:
    """Encode events; records that are none pass as they are."""
    for event in events:
        yield event if isinstance(event, NewRecord) else encode_event(event)


class Ground:
    """One partition of an embedded log and what is made of it, below `folder`."""

    def __init__(self, folder: Path, declared: Pipeline) -> None:
        self.folder = folder
        self.declared = declared
        self.events = f"{declared.name}.events"
        self.log = open_broker(str(folder / "log.db"), create=True)
        self.state = StateDirectory(folder / "state")
        self.manifest = register(self.log, declared, self.state.public_keys)
        self.host: PartitionHost | None = None

    @property
    def directory(self) -> Path:
        """Where the partition's state is."""
        return self.state.partition(self.manifest.log_id, self.declared.name, 0)

    def open(self, pace: Pace | None = None, memory: Memory = Memory()) -> PartitionHost:  # noqa: B008 - frozen
        """Open the partition as `run` does."""
        calm_garbage_collector()
        self.host = PartitionHost(
            self.log,
            self.declared,
            self.manifest,
            0,
            open_store=lambda: RocksdbStore.open(self.directory),
            seal=self.state.seal(),
            pace=pace,
            memory=memory,
            work=Work(self.directory),
        )
        return self.host

    def append(self, feed: Feed, count: int) -> int:
        """Append up to `count` events; returns how many there were."""
        done = 0
        while batch := list(islice(records(feed), min(APPENDED, count - done))):
            self.log.append(self.events, batch)
            done += len(batch)
        return done

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Process what the log has, with the loop of `run`; ends with a checkpoint."""
        assert self.host is not None
        until = {0: self.log.bounds(self.events, 0)[1]}
        run_hosts(self.log, self.declared, [self.host], stopped=stopped, until=until)

    def step_through(self) -> Clock:
        """Process what the log has, with the steps of a host and no checkpoint at the end."""
        host = self.host
        assert host is not None
        end = self.log.bounds(self.events, 0)[1]

        def steps() -> None:
            while host.next_offset < end:
                host.step(until=end)

        return timed(steps)

    def close(self) -> None:
        """Let go of everything."""
        if self.host is not None:
            self.host.close()
        self.log.close()


def total(clocks: Iterable[Clock]) -> Clock:
    """Return the sum of times."""
    result = Clock(0.0, 0.0)
    for clock in clocks:
        result = result + clock
    return result
