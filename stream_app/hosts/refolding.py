"""Folds history once more, over a state that is read and never touched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.core.batch import Batch, Start
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.processor import PartitionProcessor
from stream_app.core.store import NothingSaved, StateReader, StateStore
from stream_app.errors import OutOfResources
from stream_app.hosts.blob_topic import BlobTopic
from stream_app.hosts.event_reading import read_events
from stream_app.hosts.overlay_store import Overlay
from stream_app.storage.rocksdb_store import RocksdbStore

BATCH = 5000


class Refold(NamedTuple):
    """A processor that began at `began`; `saved` is the state that it reads and saves to."""

    log: Log
    pipeline: str
    partition: int
    processor: PartitionProcessor
    saved: Overlay
    began: int

    def batches(self, end: int) -> Iterator[Batch]:
        """Fold events up to `end`; yields what came of them, and saves after that what is due.

        Raises what stops a champion, and `LogUntrusted` where events are gone.
        """
        processor = self.processor
        while records := read_events(
            self.log,
            self.pipeline,
            self.partition,
            processor.next_offset,
            records_max=BATCH,
            until=end,
        ):
            batch = processor.process(records)
            yield batch
            if batch.stop is not None:
                raise batch.stop
            if batch.image_due:
                self.saved.save(processor.image())
                processor.saved()


def refold(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    partition: int,
    start: Start,
    scratch: Callable[[], StateStore],
    base: StateReader | None = None,
    seal: BlobSeal | None = None,
) -> Refold:
    """Return the fold that goes on from `start`, whose state is in `base`, sealed with `seal`.

    Without them it begins with nothing. What changes goes to `scratch`, made once it is needed.
    """
    saved = Overlay(NothingSaved() if base is None else base, scratch)
    processor = PartitionProcessor(
        manifest,
        partition,
        start,
        pipeline.plans(start.versions),
        saved,
        seal=BlobSeal(bytes(KEY_BYTES)) if seal is None else seal,
        known=pipeline.known,
        blobs=BlobTopic(log, pipeline.name),
    )
    return Refold(log, pipeline.name, partition, processor, saved, processor.next_offset)


def temporary_store(opened: ExitStack, purpose: str) -> RocksdbStore:
    """Make a state of our own for what does not fit into memory; gone in the end."""
    try:
        folder = tempfile.mkdtemp(prefix=f"stream-app-{purpose}-")
    except OSError as error:
        raise OutOfResources(
            f"no directory for a state of its own can be made: {error}.",
            attempt="free some space there, or name a directory on another disk with TMPDIR",
        ) from error
    opened.callback(shutil.rmtree, folder, ignore_errors=True)
    store = RocksdbStore.open(Path(folder) / "state")
    opened.callback(store.close)  # before its files go
    return store
