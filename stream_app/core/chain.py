"""The chain digest: over all that the fold reads of every record, in the order of the log.

Records are hashed in blocks of 64: a block's digest begins the next block. Starting a hash for
every record would cost more than hashing it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from stream_app.records import Record

BLOCK = 64
ORIGIN = b"\0" * 32
_frame = struct.Struct("<qqii").pack
_join = b"".join


class Chain:
    """SHA-256 over the records since the origin; equal for equal records, however batched."""

    __slots__ = ("_base", "_frames", "_hash", "_update")

    def __init__(self, base: bytes = ORIGIN, frames: bytes = b"", count: int = 0) -> None:
        self._start(base)
        if count:
            self._update(frames)
            # What was restored counts as so many frames; only their bytes matter any more.
            self._frames += [frames] + [b""] * (count - 1)

    def _start(self, base: bytes) -> None:
        self._base = base
        self._hash: Any = hashlib.sha256(base)
        self._update = self._hash.update
        self._frames: list[bytes] = []

    def add(self, record: Record) -> None:
        """Take one more record in: its offset, append time, key and value."""
        key, value = record.key, record.value
        if key is None:
            parts = (_frame(record.offset, record.timestamp_ms, -1, len(value)), value)
            frame = _join(parts)
        else:
            head = _frame(record.offset, record.timestamp_ms, len(key), len(value))
            frame = _join((head, key, value))
        self._update(frame)
        frames = self._frames
        frames.append(frame)
        if len(frames) == BLOCK:
            self._start(self._hash.digest())

    def digest(self) -> bytes:
        """Return the digest over all records so far."""
        return bytes(self._hash.copy().digest())

    def state(self) -> tuple[bytes, bytes, int]:
        """Return what `Chain(*state)` goes on from."""
        return self._base, _join(self._frames), len(self._frames)
