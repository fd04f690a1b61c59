"""A record: bytes at a place in the log."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

Headers = tuple[tuple[str, bytes], ...]
Place = int | str
"""A partition of the pipeline's own topics, by its number; or of a source, as `topic/number`."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """Bytes at a position, exactly as a log handed them out.

    `timestamp_ms` is the append time that the log stamped (Unix milliseconds), so it is part of
    what a fold reads and the same on every replay. Offsets grow but may have holes.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers = ()

    @property
    def position(self) -> str:
        """The record's place as people write it: `flights.events/3@1234`."""
        return format_position(self.topic, self.partition, self.offset)


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """Bytes on their way into a log; the log gives them offset and append time.

    `partition` is None for the default partitioner (murmur2 over the key, as Kafka's).
    """

    key: bytes | None
    value: bytes
    headers: Headers = ()
    partition: int | None = None


class Output(msgspec.Struct, frozen=True, gc=False):
    """Bytes to publish to `topic`, in the partition of the record that caused them."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


def format_position(topic: str, partition: int, offset: int) -> str:
    """Write a position as `topic/partition@offset`."""
    return f"{topic}/{partition}@{offset}"


def parse_position(text: str) -> tuple[str, int, int]:
    """Read `topic/partition@offset`; raises ValueError when `text` is no position."""
    place, at, offset = text.rpartition("@")
    topic, slash, partition = place.rpartition("/")
    if not (at and slash and topic and partition.isdigit() and offset.isdigit()):
        raise ValueError(f"{text!r} is no position; write topic/partition@offset")
    return topic, int(partition), int(offset)


class ShortPosition(NamedTuple):
    """A position as people write it where only one topic is meant, which they may leave out."""

    topic: str | None
    partition: int
    offset: int


_SHORT = re.compile(r"(?:([^/@\s]+)/)?(\d{1,9})@(\d{1,18})")


def parse_short_position(text: str) -> ShortPosition | None:
    """Read `partition@offset`, a topic before it or not; None when `text` is no position."""
    found = _SHORT.fullmatch(text)
    return None if found is None else ShortPosition(found[1], int(found[2]), int(found[3]))
