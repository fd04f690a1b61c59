"""A machine that keeps checkpoints beside its live state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from stream_app.core.keeping import Keep
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.hosts.keeping_store import KeepingStore
from stream_app.hosts.partition_host import Store
from stream_app.storage.kept_directory import KeptDirectory
from stream_app.storage.rocksdb_store import RocksdbStore
from tests.recovery.machine import EveryNth, Machine

AT_MOST = 3
STEP = 40


class KeepingMachine(Machine, frozen=True):
    """Keeps a checkpoint every `records` records, at most `AT_MOST` of them."""

    records: int
    at_most: int = AT_MOST

    def store(
        self, log: Log, pipeline: Pipeline, path: Path, reached: Callable[[str], None]
    ) -> Store:
        """Open partition 0's state as `run` does."""
        store = RocksdbStore.open(path)
        store.reached = reached
        kept = KeptDirectory(path.with_name(f"{path.name}.kept"), reached)
        return KeepingStore(store, kept, Keep(records=self.records, at_most=self.at_most), 0)

    def kept(self, pipeline: Pipeline) -> KeptDirectory:
        """Return what is kept."""
        path = self.state_path(pipeline)
        return KeptDirectory(path.with_name(f"{path.name}.kept"))

    def go(self, pipeline: Pipeline) -> None:
        """Process all there is, with many checkpoints."""
        with closing(self.log()) as log:
            host = self.open(log, pipeline, pace=EveryNth(2))
            with closing(host):
                while host.step(STEP):
                    pass
                host.finish()
