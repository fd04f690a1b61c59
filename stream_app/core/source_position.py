"""How far a partition of a source was copied: a ledger value, set in the copies' transaction."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from stream_app.codec.partitioning import partition_of
from stream_app.core.log import LedgerPlace
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted
from stream_app.records import Record


class SourcePosition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first offset not yet copied, and what was made of those before it.

    `copied` counts events, `refused` those of the copies that could not be mapped and `skipped`
    the records for which there was no mapping. The topic's identity is kept, where it has one, and
    the newest record's offset and digest: another topic under the same name is noticed.
    """

    next_offset: int
    copied: int = 0
    refused: int = 0
    skipped: int = 0
    last_offset: int | None = None
    last_digest: str = ""
    topic_id: str = ""

    def encode(self) -> bytes:
        """Return the ledger value."""
        return msgspec.json.encode(self)


def decode_position(value: bytes, where: str) -> SourcePosition:
    """Return the position in a ledger value; raises `LogUntrusted` for what is none."""
    try:
        return msgspec.json.decode(value, type=SourcePosition)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogUntrusted(
            f"the position of {where} in the log cannot be read: {error}.",
            attempt="restore the log from a backup",
        ) from None


def record_digest(record: Record) -> str:
    """Return what tells a record from another one at the same offset."""
    key = b"-" if record.key is None else b"%d:%b" % (len(record.key), record.key)
    text = b"%d %b %b" % (record.timestamp_ms, key, record.value)
    return sha256(text).hexdigest()[:32]


def place_name(topic: str, partition: int) -> str:
    """Write a partition of a source as people do: `topic/partition`."""
    return f"{topic}/{partition}"


def ledger_place(pipeline: str, topic: str, partition: int, partitions: int) -> LedgerPlace:
    """Return where the position of a source's partition is; `partitions` is the pipeline's."""
    key = place_name(topic, partition)
    return LedgerPlace(Topics(pipeline).intake, partition_of(key.encode(), partitions), key)
