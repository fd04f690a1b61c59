"""Logs in memory whose pipelines have run over a history, and what operators do to them."""

from __future__ import annotations

from contextlib import closing

import msgspec

from stream_app.core.commit import Manifest, decode_commit, encode_commit
from stream_app.core.rehearsal import SEAL
from stream_app.core.seats import Seat, SeatChange
from stream_app.core.topics import Topics
from stream_app.hosts.partition_host import PartitionHost
from stream_app.records import Record
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from tests.core.history import History


def folded(history: History) -> tuple[MemoryLog, Manifest]:
    """Return a log with a history that every version of its pipeline has learned."""
    log = MemoryLog(log_id="history")
    manifest = history._registered(log)
    offset = 0
    for entry in history.entries:
        offset += entry.hole
        events = Topics(history.pipeline.name).events
        log.append_at(events, 0, offset, entry.append_ms, entry.key, entry.value)
        offset += 1
    with closing(
        PartitionHost(log, history.pipeline, manifest, 0, open_store=MemoryStore, seal=SEAL)
    ) as host:
        while host.step():
            pass
    return log, manifest


def rows(log: MemoryLog, topic: str) -> list[Record]:
    """Return all records of a topic's first partition."""
    return log.read(topic, 0, 0, records_max=1 << 30)


def with_seat_changed(log: MemoryLog, manifest: Manifest, at: int, new: str) -> MemoryLog:
    """Return the log as it would be, had `new` become champion from the event at `at` on."""
    topics, old = Topics(manifest.pipeline), manifest.initial_champion
    changed = MemoryLog(log_id=log.log_id)
    changed.create_topics(dict(log.topics()))
    commit = log.ledger_get(topics.ledger, 0, "commit")
    assert commit is not None
    was = decode_commit(commit, "the copy")
    seats = [SeatChange(at, new, "order"), SeatChange(at, "nobody", "order", refused="gone")]
    now = encode_commit(msgspec.structs.replace(was, seat=Seat(new, at), seats=seats))
    changed.claim(topics.ledger, 0).publish([], now, expected=None, next_offset=was.next_offset)
    for topic in log.topics():
        for record in rows(log, topic):
            after = topic != topics.events and _cause(record) >= at
            place = topic
            if after and topic == topics.predictions:
                place = topics.shadow(old)
            elif after and topic == topics.shadow(new) and b'"kind":"prediction"' in record.value:
                place = topics.predictions
            changed.append_at(
                place,
                0,
                changed.bounds(place, 0)[1] if place != topics.events else record.offset,
                record.timestamp_ms,
                record.key,
                record.value,
                record.headers,
            )
    return changed


def _cause(record: Record) -> int:
    return int(dict(record.headers)["source"].rpartition(b"@")[2])
