"""Whether a checkpoint was learned from the records that the log has."""

from __future__ import annotations

from pathlib import Path

from stream_app.core.chain import Chain
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.position import read_position
from stream_app.errors import StateUntrusted
from stream_app.hosts.event_reading import read_events
from stream_app.hosts.manifests import committed
from stream_app.storage.rocksdb_store import RocksdbStore

BATCH = 5000


def require_of_this_log(log: Log, manifest: Manifest, partition: int, path: Path) -> None:
    """Raise `StateUntrusted` unless a checkpoint's chain leads to the committed one.

    A log that was replaced by a backup and went another way since has other records behind it than
    a checkpoint that was kept before. All records up to the committed position are read for this,
    and none is learned.
    """
    store = RocksdbStore.open(path, read_only=True)
    try:
        position = read_position(store)
    finally:
        store.close()
    commit = committed(log, manifest.pipeline, partition)
    if position is None or commit is None or position.next_offset > commit.next_offset:
        return
    chain, place = Chain(*position.chain), (log, manifest.pipeline, partition)
    at, end = position.next_offset, commit.next_offset
    while records := read_events(*place, at, records_max=BATCH, until=end):
        for record in records:
            chain.add(record)
        at = records[-1].offset + 1
    if chain.digest().hex() != commit.chain:
        raise StateUntrusted(
            f"the checkpoint in {path} was learned from other records than this log has before "
            f"{position.next_offset}, so it says nothing of what was published: the log was "
            "replaced by a backup that went another way.",
            attempt=f"move {path} away and explain again, from an older checkpoint or from the "
            "first record",
        )
