"""Compares what chaos left on a broker with one undisturbed fold of the same records.

Reads with clients of its own: what is under test does not say what is there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.core.commit import Commit, Manifest, decode_commit
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover
from stream_app.core.topics import Topics
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.replay import replay
from stream_app.kafka.connection import connection
from stream_app.kafka.cursor import to_record
from stream_app.kafka.ledger import COMMIT
from stream_app.kafka.log import KafkaLog
from stream_app.records import NewRecord
from stream_app.storage.memory_store import MemoryStore
from tests.kafka.chaos_pipeline import PARTITIONS, tempest
from tests.kafka.chaos_producer import GHOST

TOPICS = Topics(tempest.name)
OUTPUTS = TOPICS.all(tempest.versions)[1:]
BATCH = 2000
SETTLES_WITHIN_S = 60.0
DIGEST = b'"kind":"state_digest"'

Row = tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]


class Verdict(msgspec.Struct):
    """What was compared, and every partition's first difference."""

    events: int = 0
    outputs: int = 0
    digests: int = 0
    hidden: int = 0
    differences: list[str] = []


class Reader:
    """Reads whole partitions."""

    def __init__(self, bootstrap: str) -> None:
        self._options = {
            "bootstrap_servers": bootstrap,
            "auto_offset_reset": "none",
            "enable_auto_commit": False,
            "group_id": None,
        }

    async def settle(self, topics: list[str]) -> None:
        """Wait until no transaction is open any more."""
        places = [TopicPartition(t, p) for t in topics for p in range(PARTITIONS)]
        deadline = time.monotonic() + SETTLES_WITHIN_S
        async with (
            AIOKafkaConsumer(**self._options, isolation_level="read_committed") as committed,
            AIOKafkaConsumer(**self._options) as everything,
        ):
            while await committed.end_offsets(places) != await everything.end_offsets(places):
                if time.monotonic() > deadline:
                    raise TimeoutError("a transaction stays open")
                await asyncio.sleep(0.2)

    async def all(
        self, topic: str, partition: int, isolation: str = "read_committed"
    ) -> list[ConsumerRecord]:
        place = TopicPartition(topic, partition)
        rows: list[ConsumerRecord] = []
        async with AIOKafkaConsumer(**self._options, isolation_level=isolation) as consumer:
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            consumer.seek(place, 0)
            deadline = time.monotonic() + SETTLES_WITHIN_S
            while await consumer.position(place) < end:
                rows += (await consumer.getmany(place, timeout_ms=200)).get(place, [])
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{topic}/{partition} could not be read up to {end}")
        return rows


def judge(bootstrap: str, sent: list[NewRecord]) -> Verdict:
    """Fold every partition, in memory and by `replay`, and compare everything."""
    verdict = Verdict()
    log = KafkaLog(connection(f"kafka://{bootstrap}"))
    try:
        manifest = read_manifest(log, tempest.name)
        missing = Counter(row.value for row in sent)
        missing.subtract(asyncio.run(_judge(Reader(bootstrap), manifest, verdict)))
        lost = sum(count for count in missing.values() if count > 0)
        if lost:
            verdict.differences.append(f"{lost} records that were acknowledged are not in the log")
        for partition in range(PARTITIONS):
            report = replay(log, tempest, manifest, partition)
            if report.difference is not None:
                verdict.differences.append(f"replay of {partition}: {report.difference}")
    finally:
        log.close()
    return verdict


async def _judge(reader: Reader, manifest: Manifest, verdict: Verdict) -> Counter[bytes]:
    await reader.settle([TOPICS.events, TOPICS.ledger, *OUTPUTS])
    values: Counter[bytes] = Counter()
    for partition in range(PARTITIONS):
        events = await reader.all(TOPICS.events, partition)
        verdict.events += len(events)
        values.update(row.value for row in events)
        if any(GHOST in row.value for row in events):
            verdict.differences.append(f"{TOPICS.events}/{partition} shows what was not committed")
        published = {topic: await reader.all(topic, partition) for topic in OUTPUTS}
        ledger = await reader.all(TOPICS.ledger, partition)
        commits = [decode_commit(row.value, "chaos") for row in ledger if row.key == COMMIT]
        verdict.differences += _compare(manifest, partition, events, published, commits)
        for topic, rows in published.items():
            seen = await reader.all(topic, partition, "read_uncommitted")
            verdict.hidden += len(seen) - len(rows)
            verdict.outputs += len(rows)
            verdict.digests += sum(DIGEST in row.value for row in rows)
    return values


def _compare(
    manifest: Manifest,
    partition: int,
    events: list[ConsumerRecord],
    published: dict[str, list[ConsumerRecord]],
    commits: list[Commit],
) -> Iterator[str]:
    """Yield how a partition's topics and commits differ from one fold of its events."""
    processor = _processor(manifest, partition)
    expected: dict[str, list[Row]] = {topic: [] for topic in published}
    for begin in range(0, len(events), BATCH):
        batch = [to_record(row, TOPICS.events) for row in events[begin : begin + BATCH]]
        done = processor.process(batch)
        assert done.stop is None
        assert done.commit.next_offset == batch[-1].offset + 1
        for output in done.outputs:
            expected[output.topic].append((output.key, output.value, tuple(output.headers)))
    for topic, rows in published.items():
        found = [(row.key, row.value, tuple(row.headers)) for row in rows]
        yield from _first_difference(f"{topic}/{partition}", found, expected[topic])
    positions = [commit.next_offset for commit in commits]
    if positions != sorted(set(positions)):
        yield f"{TOPICS.ledger}/{partition}: a committed position was taken back or repeated"
    if events and (not commits or commits[-1].chain != processor.chain.hex()):
        yield f"{TOPICS.ledger}/{partition}: the last commit is not of the last event"


def _processor(manifest: Manifest, partition: int) -> PartitionProcessor:
    start = recover(manifest, partition, tempest, None, None, 0).start
    return PartitionProcessor(
        manifest,
        partition,
        start,
        tempest.plans(start.versions),
        MemoryStore(),
        seal=BlobSeal(bytes(KEY_BYTES)),
        known=tempest.known,
    )


def _first_difference(place: str, found: list[Row], expected: list[Row]) -> Iterator[str]:
    for number, (row, wanted) in enumerate(zip(found, expected, strict=False)):
        if row != wanted:
            yield f"{place}: record {number} is {row}, not {wanted}"
            return
    if len(found) != len(expected):
        yield f"{place}: {len(found)} records in place of {len(expected)}"
