"""A state store on this machine whose checkpoints also go to a topic, and come back from there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from stream_app.core.log import Log
from stream_app.core.position import POSITION
from stream_app.core.store import Image, pages
from stream_app.core.topics import Topics
from stream_app.hosts.store_around import StoreAround
from stream_app.kafka.checkpoints import CheckpointTopic
from stream_app.kafka.log import KafkaLog
from stream_app.storage.partition_lock import PartitionLock
from stream_app.storage.private_files import make_private_directory
from stream_app.storage.rocksdb_store import RocksdbStore

KEYS_PER_SAVE = 10_000


class ReplicatedStore(StoreAround[RocksdbStore]):
    """The `StateStore` of a partition that may move to another machine.

    Opens with whichever is newer: what is on this disk or what is in the topic. An image is saved
    here first, then sent in the background, one at a time; what changes meanwhile is sent with
    the next. A state here that is ahead of the topic is sent as a whole once. Every image stands
    for a committed position, so neither is ever ahead of the log.
    """

    def __init__(self, path: Path, topic: Callable[[], CheckpointTopic]) -> None:
        self._topic = topic()
        try:
            super().__init__(self._opened(path))
        except BaseException:
            self._topic.close()
            raise
        self._whole = self._store.saved_offset() != self._topic.position
        self._waiting: dict[str, dict[bytes, bytes | None]] = {}
        self._sender = ThreadPoolExecutor(1, f"checkpoints of {path.name}")
        self._sending: Future[None] | None = None

    def _opened(self, path: Path) -> RocksdbStore:
        there = self._topic.position
        make_private_directory(path.parent)
        # RocksDB's own lock goes with the directory that a restore replaces.
        lock = PartitionLock.take(path.parent, path.parent.parent.name, int(path.name))
        try:
            store = RocksdbStore.open(path)
            here = store.saved_offset()
            if there is None or (here is not None and here >= there):
                return store
            store.close()
            return _restored(path, self._topic, there)
        finally:
            lock.release()

    def save(self, image: Image) -> None:
        """Write an image here, atomically and durably, and let it go to the topic after that."""
        self._store.save(image)
        for family, writes in image.writes.items():
            self._waiting.setdefault(family, {}).update(writes)
        if self._sending is None or self._sending.done():
            self._send(image.next_offset)

    def _send(self, next_offset: int) -> None:
        self._settle()
        writes, self._waiting = self._waiting, {}
        if self._whole:
            writes, self._whole = self._all(), False
        self._sending = self._sender.submit(self._topic.write, writes, next_offset)

    def _settle(self) -> None:
        """Wait for what is being sent; raises what went wrong with it."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()

    def _all(self) -> dict[str, dict[bytes, bytes | None]]:
        """Return all that is here, and a deletion of all that is only in the topic."""
        writes: dict[str, dict[bytes, bytes | None]] = {}
        for family, known in self._topic.entries().items():
            writes[family] = dict.fromkeys(known)
        for family in self._store.families():
            rows = writes.setdefault(family, {})
            for entries in pages(self._store, family, KEYS_PER_SAVE):
                rows.update(entries)
        return writes

    def drop(self, family: str) -> None:
        """Remove a family here; what is in the topic is void from then on."""
        if self._topic.position is not None:
            self._settle()
            self._topic.void()
        self._whole = True
        self._store.drop(family)

    def keep(self, path: Path) -> None:
        """Make a whole copy of what is saved here in a directory."""
        self._store.keep(path)

    def close(self) -> None:
        """Send what is saved and not sent yet, and let go of both."""
        try:
            saved = self._store.saved_offset()
            self._settle()
            if self._waiting and saved is not None:
                self._send(saved)
                self._settle()
        finally:
            self._sender.shutdown()
            self._store.close()
            self._topic.close()


def open_replicated(
    log: Log, pipeline: str, key_id: bytes, path: Path, partition: int, backfill: str | None
) -> ReplicatedStore:
    """Open a partition's state that can move to other machines; `log` is one on Kafka."""
    assert isinstance(log, KafkaLog)  # noqa: S101 - a kafka:// URL opens no other
    topics, there = Topics(pipeline), log
    topic = topics.checkpoints if backfill is None else topics.checkpoints_of(backfill)
    return ReplicatedStore(path, lambda: there.checkpoints(topic, partition, key_id))


def _restored(path: Path, topic: CheckpointTopic, next_offset: int) -> RocksdbStore:
    """Fill a directory of its own from the topic, and put it in place when it is whole."""
    draft = path.with_name(f"{path.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    store = RocksdbStore.open(draft)
    try:
        entries = topic.entries()
        position = {POSITION: entries.pop(POSITION)}
        for family, rows in [*entries.items(), *position.items()]:
            keys = list(rows)
            for i in range(0, len(keys), KEYS_PER_SAVE):
                part: dict[bytes, bytes | None] = {k: rows[k] for k in keys[i : i + KEYS_PER_SAVE]}
                store.save(Image(next_offset, {family: part}))
    finally:
        store.close()
    shutil.rmtree(path)
    draft.rename(path)
    return RocksdbStore.open(path)
