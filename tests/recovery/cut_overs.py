"""What promotions must have left: told from events alone, and by an undisturbed fold of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.core.commit import Commit, Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.hosts.manifests import committed, read_manifest
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.published_rows import source_offset
from stream_app.records import Record
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore


def differences(log: Log, pipeline: Pipeline, partition: int, seal: BlobSeal) -> list[str]:
    """Return what is not as it must be in a partition of which all is committed.

    `pipeline` declares every version; the undisturbed fold has all of them from the beginning.
    """
    manifest, topics = read_manifest(log, pipeline.name), Topics(pipeline.name)
    events = all_records(log, topics.events, partition)
    again = _folded(log, events, manifest, pipeline, partition, seal)
    letters = all_records(log, topics.dead_letters, partition)
    rows = all_records(log, topics.predictions, partition)
    found = wrong_seats(events, letters, rows, manifest.initial_champion)
    for topic in topics.all(pipeline.versions):
        if topic != topics.events:
            ours = all_records(log, topic, partition)
            found += _differing(topic, ours, all_records(again, topic, partition))
    one, other = (
        committed(log, pipeline.name, partition),
        committed(again, pipeline.name, partition),
    )
    if one is None or other is None or _plain(one) != _plain(other):
        found.append(f"the committed position is {one}, and {other} without a disturbance")
    return found


def wrong_seats(
    events: Sequence[Record], letters: Sequence[Record], rows: Sequence[Record], initial: str
) -> list[str]:
    """Compare who predicted with what the orders say, by nothing but a partition's own bytes.

    `letters` and `rows` are its dead letters and predictions. Every order counts, so all have to
    be ones that can be obeyed.
    """
    refused = {source_offset(letter) for letter in letters}
    champion, expected = initial, []
    for record in events:
        if record.offset in refused:
            continue
        if b'"kind":"observation"' in record.value:
            expected.append((record.offset, champion))
        elif b'"action":"promote"' in record.value:
            champion = str(json.loads(record.value)["version"])
    said = [(source_offset(row), str(json.loads(row.value)["version"])) for row in rows]
    if said == expected:
        return []
    wrong = [pair for pair in zip(expected, said, strict=False) if pair[0] != pair[1]][:3]
    return [f"{len(expected)} observations have {len(said)} predictions; {wrong}"]


def _folded(
    log: Log,
    events: list[Record],
    manifest: Manifest,
    pipeline: Pipeline,
    partition: int,
    seal: BlobSeal,
) -> MemoryLog:
    """Fold the same records, with their offsets and append times, in one process that lives on."""
    memory = MemoryLog(log_id=log.log_id)
    topics = Topics(pipeline.name)
    memory.create_topics(dict.fromkeys(topics.all(pipeline.versions), manifest.partitions))
    for row in events:
        place = (topics.events, partition, row.offset, row.timestamp_ms)
        memory.append_at(*place, row.key, row.value, row.headers)
    with closing(
        PartitionHost(memory, pipeline, manifest, partition, open_store=MemoryStore, seal=seal)
    ) as host:
        while host.step():
            pass
    return memory


def _plain(commit: Commit) -> Commit:
    """Return a commit without what a version that came in later has differently."""
    return msgspec.structs.replace(commit, versions={})


def _differing(topic: str, ours: list[Record], others: list[Record]) -> list[str]:
    if len(ours) != len(others):
        return [f"{topic} has {len(ours)} records, and {len(others)} without a disturbance"]
    for one, other in zip(ours, others, strict=True):
        if (one.key, one.value, one.headers) != (other.key, other.value, other.headers):
            return [f"{one.position} is {one.value!r}, and {other.value!r} without a disturbance"]
    return []


def all_records(log: Log, topic: str, partition: int) -> list[Record]:
    """Read a partition to its end."""
    rows: list[Record] = []
    offset = log.bounds(topic, partition)[0]
    while found := log.read(topic, partition, offset, records_max=5000):
        rows += found
        offset = found[-1].offset + 1
    return rows
