"""What the newest events tell of their producers: keys, partitioners and units of time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import msgspec

from stream_app.codec.intake_headers import REFUSED
from stream_app.codec.partitioning import partition_of
from stream_app.core.log import Log
from stream_app.core.upkeep import Finding, Subject
from stream_app.records import Record

SAMPLED_MAX = 200
_decode = msgspec.json.Decoder(dict[str, object]).decode


class Sampled(msgspec.Struct, frozen=True):
    """A record, and what its value says of itself; what cannot be read is a dead letter's."""

    record: Record
    key: str | None
    ts_ms: int | None

    @property
    def own_key(self) -> bytes:
        """The bytes that the record's key has to be."""
        return (self.key or "").encode()


def sample_findings(log: Log, subject: Subject) -> list[Finding]:
    """Look at the newest events of every partition."""
    topic = subject.topics.events
    count = log.topics().get(topic, 0)
    sample = [row for number in range(count) for row in _newest(log, topic, number)]
    keyed = [row for row in sample if row.key is not None]
    return [
        *_keys(topic, keyed),
        *_partitioner(topic, keyed, count),
        *_units(topic, sample, subject),
    ]


def _newest(log: Log, topic: str, partition: int) -> Iterator[Sampled]:
    start, end = log.bounds(topic, partition)
    offset = max(start, end - SAMPLED_MAX)
    for record in log.read(topic, partition, offset, records_max=SAMPLED_MAX):
        if any(name == REFUSED for name, _ in record.headers):
            continue  # other people's, kept as it was
        try:
            fields = _decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        yield Sampled(record, _key_of(fields), _whole(fields.get("ts_ms")))


def _key_of(fields: dict[str, object]) -> str | None:
    """Return the key that an observation or a label has; controls go everywhere without one."""
    key = fields.get("key")
    key = fields.get("id") if key is None else key
    return key if isinstance(key, str) and fields.get("kind") != "control" else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _keys(topic: str, keyed: Sequence[Sampled]) -> Iterator[Finding]:
    wrong = [row for row in keyed if row.record.key != row.own_key]
    if wrong:
        what = (
            f"{_of(wrong, keyed)} have another key than their event says (`key`, by default its "
            f"id): {wrong[-1].record.position} has {_shown(wrong[-1].record.key)}, not "
            f"{wrong[-1].key!r}"
        )
        attempt = "let the producer use the event's key as the record's, or `stream-app produce`"
        yield Finding("problem", "keys", topic, what, attempt)


def _partitioner(topic: str, keyed: Sequence[Sampled], count: int) -> Iterator[Finding]:
    """Where a record belongs is said by its event's key, which label and observation share."""
    wrong = [row for row in keyed if partition_of(row.own_key, count) != row.record.partition]
    if not wrong:
        return
    cause = "by none that is known here"
    if all(row.record.key is None for row in wrong):
        cause = "at random, since they have no key"
    elif all(_crc32_of(row.record.key, count) == row.record.partition for row in wrong):
        cause = "by CRC32, as librdkafka's clients do by default"
    what = (
        f"{_of(wrong, keyed)} are in another partition than murmur2 gives their key: "
        f"{wrong[-1].record.position} belongs into {partition_of(wrong[-1].own_key, count)}. They "
        f"were partitioned {cause}: labels may miss their observations"
    )
    attempt = "partitioner=murmur2_random in the producer's settings (librdkafka's clients)"
    yield Finding("problem", "partitioner", topic, what, attempt)


def _crc32_of(key: bytes | None, partitions: int) -> int | None:
    return None if key is None else zlib.crc32(key) % partitions


def _units(topic: str, sample: Sequence[Sampled], subject: Subject) -> Iterator[Finding]:
    limits = subject.limits
    odd: dict[str, list[Sampled]] = {}
    timed = [row for row in sample if row.ts_ms is not None]
    for row in timed:
        latest = row.record.timestamp_ms + limits.ts_ahead_max_ms
        unit = _unit(row.ts_ms or 0, limits.ts_min_ms, latest)
        if unit is not None:
            odd.setdefault(unit, []).append(row)
    for unit, rows in odd.items():
        last = rows[-1]
        what = (
            f"{_of(rows, timed)} have a ts_ms that {unit}, and are refused: "
            f"{last.record.position} has {last.ts_ms}"
        )
        attempt = "Unix milliseconds in the producer's ts_ms; stream-app dead-letters "
        yield Finding("problem", "event-time", topic, what, attempt + subject.pipeline)


def _unit(ts_ms: int, earliest_ms: int, latest_ms: int) -> str | None:
    """Return what a time looks like that the gate refuses, or None for a good one."""
    if ts_ms < earliest_ms:
        seconds = earliest_ms <= ts_ms * 1000 <= latest_ms
        return "looks like seconds" if seconds else "is before the earliest allowed"
    if ts_ms <= latest_ms:
        return None
    for unit, factor in (("microseconds", 1000), ("nanoseconds", 1_000_000)):
        if earliest_ms <= ts_ms // factor <= latest_ms:
            return f"looks like {unit}"
    return "is too far ahead of the time of append"


def _of(rows: Sequence[Sampled], all_rows: Sequence[Sampled]) -> str:
    return f"{len(rows)} of the newest {len(all_rows)} events"


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(key.decode("utf-8", "backslashreplace")[:100])
