"""Keys land where Kafka's Java client puts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.codec.partitioning import murmur2, partition_of, partitions_for
from stream_app.errors import UsageError
from stream_app.records import NewRecord

# Hashes that Kafka's own tests pin, as signed 32-bit integers.
KAFKA_HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), KAFKA_HASHES.items())
def test_the_hash_is_kafkas(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@pytest.mark.parametrize(("key", "signed"), KAFKA_HASHES.items())
def test_the_sign_bit_is_dropped_before_the_remainder(key: bytes, signed: int) -> None:
    assert partition_of(key, 7) == (signed & 0x7FFFFFFF) % 7


@given(st.binary(max_size=40), st.integers(1, 64))
def test_every_key_has_a_partition_in_range(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_a_named_partition_wins_over_the_key() -> None:
    records = [NewRecord(b"foobar", b"", partition=2), NewRecord(b"foobar", b"")]
    assert partitions_for("t", records, 4) == [2, partition_of(b"foobar", 4)]


def test_one_partition_needs_neither_key_nor_name() -> None:
    assert partitions_for("t", [NewRecord(None, b""), NewRecord(b"k", b"", partition=0)], 1) == [
        0,
        0,
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_a_partition_out_of_range_is_refused_by_name(count: int) -> None:
    with pytest.raises(UsageError, match=f"no partition {count} in t"):
        partitions_for("t", [NewRecord(b"k", b"", partition=count)], count)


def test_a_record_without_key_and_partition_is_refused_when_there_is_a_choice() -> None:
    with pytest.raises(UsageError, match="neither key nor partition"):
        partitions_for("t", [NewRecord(None, b"")], 2)
