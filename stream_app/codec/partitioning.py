"""Which partition a record goes to: Kafka's default partitioner, so that both logs agree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from stream_app.errors import UsageError
from stream_app.records import NewRecord

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_WORD = 0xFFFFFFFF

KEYS_CACHED_MAX = 1 << 16


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives `key`.

    Clients of librdkafka use CRC32 unless they set `partitioner=murmur2_random`.
    """
    if partitions == 1:
        return 0
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partitions_for(topic: str, records: Sequence[NewRecord], partitions: int) -> list[int]:
    """Return each record's partition: its own choice, else its key's.

    Raises `UsageError` for a partition that `topic` does not have, and for a record that has
    neither partition nor key while there is more than one partition to choose from.
    """
    if partitions == 1 and all(not record.partition for record in records):
        return [0] * len(records)
    return [_choose(topic, record, partitions) for record in records]


def require_partition(topic: str, partition: int, partitions: int) -> None:
    """Raise `UsageError` unless `topic`, having `partitions`, has this one."""
    if not 0 <= partition < partitions:
        raise UsageError(
            f"There is no partition {partition} in {topic}, which has {partitions}.",
            attempt=f"use a partition from 0 to {partitions - 1}.",
        )


def _choose(topic: str, record: NewRecord, partitions: int) -> int:
    if record.partition is not None:
        require_partition(topic, record.partition, partitions)
        return record.partition
    if record.key is None:
        raise UsageError(
            f"A record for {topic} has neither key nor partition, and there are"
            f" {partitions} partitions.",
            attempt="give the record a key, or name its partition.",
        )
    return partition_of(record.key, partitions)


# Keys come back: an observation, its label, the next observation. In Python the hash costs
# microseconds and the cache a tenth of one.
@lru_cache(maxsize=KEYS_CACHED_MAX)
def murmur2(data: bytes) -> int:
    """Return the unsigned 32-bit MurmurHash2 of `data` under Kafka's seed.

    Source: Austin Appleby's MurmurHash2, as Kafka's `Utils.murmur2` applies it.
    """
    whole = len(data) & ~3
    digest = _SEED ^ len(data)
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _WORD
        word = (word ^ word >> 24) * _MULTIPLIER & _WORD
        digest = digest * _MULTIPLIER & _WORD ^ word
    if len(data) > whole:
        digest = (digest ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _WORD
    digest = (digest ^ digest >> 13) * _MULTIPLIER & _WORD
    return digest ^ digest >> 15
