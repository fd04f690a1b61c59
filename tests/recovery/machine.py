"""A machine in a directory: one log, one state; and what can be read of it afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path

import msgspec

from stream_app.core.commit import Commit, Manifest, decode_commit
from stream_app.core.log import Log
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.hosts.checkpoint_pace import Pace
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.partition_host import PartitionHost, Store, nothing
from stream_app.hosts.registration import register
from stream_app.hosts.replay import ReplayReport, replay
from stream_app.hosts.state_directory import StateDirectory
from stream_app.records import NewRecord
from stream_app.storage.rocksdb_store import RocksdbStore
from stream_app.storage.sqlite_log import SqliteLog

Published = dict[str, list[tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]]]


class EveryNth(Pace):
    """A checkpoint is due at every n-th look, whatever the clock says."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self._nth = nth
        self._looks = 0

    def due(self) -> bool:
        self._looks += 1
        return self._looks % self._nth == 0


class Outcome(msgspec.Struct, frozen=True):
    """All that a run left for others to read: every topic's records, and the commit record."""

    published: Published
    commit: bytes | None


class Machine(msgspec.Struct, frozen=True):
    """`root` holds `log.db` and `state/`; nothing is kept open between two calls."""

    root: Path

    @property
    def log_path(self) -> Path:
        return self.root / "log.db"

    @property
    def state(self) -> StateDirectory:
        return StateDirectory(self.root / "state")

    def log(self, *, create: bool = False) -> Log:
        return self.sqlite_log(create=create)

    def sqlite_log(self, *, create: bool = False) -> SqliteLog:
        """Open the log as what it is, for what only a log of this machine can do."""
        return SqliteLog.open(self.log_path, create=create)

    def begin(self, pipeline: Pipeline, rows: Sequence[NewRecord]) -> Manifest:
        """Make the log, register the pipeline and append its events."""
        with closing(self.log(create=True)) as log:
            manifest = register(log, pipeline, self.state.public_keys)
            log.append(Topics(pipeline.name).events, rows)
            return manifest

    def append(self, pipeline: Pipeline, rows: Sequence[NewRecord]) -> None:
        with closing(self.log()) as log:
            log.append(Topics(pipeline.name).events, rows)

    def state_path(self, pipeline: Pipeline) -> Path:
        with closing(self.log()) as log:
            return self.state.partition(log.log_id, pipeline.name, 0)

    def open(
        self,
        log: Log,
        pipeline: Pipeline,
        *,
        versions: Collection[str] | None = None,
        reached: Callable[[str], None] = nothing,
        pace: Pace | None = None,
        memory: Memory = Memory(),  # noqa: B008 - frozen
        publisher: Executor | None = None,
    ) -> PartitionHost:
        """Open partition 0 as `run` does."""
        manifest = register(log, pipeline, self.state.public_keys)
        path = self.state.partition(log.log_id, pipeline.name, 0)
        return PartitionHost(
            log,
            pipeline,
            manifest,
            0,
            open_store=lambda: self.store(log, pipeline, path, reached),
            seal=self.state.seal(),
            versions=versions,
            reached=reached,
            pace=pace,
            memory=memory,
            publisher=publisher,
        )

    def store(
        self, log: Log, pipeline: Pipeline, path: Path, reached: Callable[[str], None]
    ) -> Store:
        """Open partition 0's state."""
        store = RocksdbStore.open(path)
        store.reached = reached
        return store

    def run(self, pipeline: Pipeline, *, until: int | None = None, save: bool = True) -> None:
        """Process up to the log's end, or `until`; `save` a checkpoint there."""
        with (
            closing(self.log()) as log,
            closing(self.open(log, pipeline, pace=EveryNth(1 << 30))) as host,
        ):
            while host.step(200, until):
                pass
            if save:
                host.checkpoint()

    def outcome(self, pipeline: Pipeline) -> Outcome:
        """Read everything that was put out."""
        topics = Topics(pipeline.name)
        with closing(self.log()) as log:
            published: Published = {}
            for topic in log.topics():
                if topic != topics.events:
                    rows = log.read(topic, 0, 0, records_max=1 << 30, bytes_max=1 << 40)
                    published[topic] = [(row.key, row.value, row.headers) for row in rows]
            return Outcome(published, log.ledger_get(topics.ledger, 0, "commit"))

    def commit(self, pipeline: Pipeline) -> Commit:
        value = self.outcome(pipeline).commit
        assert value is not None
        return decode_commit(value, "the machine")

    def replayed(self, pipeline: Pipeline) -> ReplayReport:
        """Fold the log anew and compare."""
        with closing(self.log()) as log:
            return replay(log, pipeline, read_manifest(log, pipeline.name), 0)

    def copy(self, root: Path) -> Machine:
        """Return another machine with the same log and state."""
        shutil.copytree(self.root, root)
        return Machine(root)


def first_difference(one: Outcome, other: Outcome) -> str | None:
    """Name the first record that differs, so that a failing test prints one and not a thousand."""
    for topic in sorted({*one.published, *other.published}):
        rows, others = one.published.get(topic, []), other.published.get(topic, [])
        for number, (row, its) in enumerate(zip(rows, others, strict=False)):
            if row != its:
                return f"{topic}@{number}: {row} is {its}"
        if len(rows) != len(others):
            return f"{topic} has {len(rows)} records, and {len(others)}"
    return None if one.commit == other.commit else f"commit: {one.commit!r} is {other.commit!r}"
