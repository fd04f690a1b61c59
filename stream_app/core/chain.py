"""The chain digest: over all that the fold reads of every record, in the order of the log.

Records are hashed in blocks of 64: a block's digest begins the next block. Starting a hash for
every record would cost more than hashing it.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final

from stream_app.codec.intake_headers import READ_BY_THE_FOLD
from stream_app.records import Record

BLOCK: Final = 64
ORIGIN = b"\0" * 32
_frame: Final = struct.Struct("<qqii").pack
_join: Final = b"".join


class Chain:
    """SHA-256 over the records since the origin; equal for equal records, however batched."""

    __slots__ = ("_base", "_count", "_note", "_parts")

    def __init__(self, base: bytes = ORIGIN, frames: bytes = b"", count: int = 0) -> None:
        self._start(base)
        self._count = count
        self._note(frames)

    def _start(self, base: bytes) -> None:
        self._base = base
        self._count = 0
        # The bytes of the unfinished block in pieces, hashed when it is full.
        self._parts: list[bytes] = []
        self._note = self._parts.append

    def add(self, record: Record) -> None:
        """Take one more record in: its offset, append time, key, value, intake's headers."""
        key, value, note = record.key, record.value, self._note
        if key is None:
            note(_frame(record.offset, record.timestamp_ms, -1, len(value)))
        else:
            note(_frame(record.offset, record.timestamp_ms, len(key), len(value)))
            note(key)
        note(value)
        if record.headers:
            self._add_headers(record)
        self._count += 1
        if self._count == BLOCK:
            self._start(self.digest())

    def _add_headers(self, record: Record) -> None:
        """Take in the headers that the fold reads; in a frame that no record's begins like."""
        for name, value in record.headers:
            if name in READ_BY_THE_FOLD:
                text = name.encode()
                self._note(_frame(-1, 0, len(text), len(value)))
                self._note(text)
                self._note(value)

    def digest(self) -> bytes:
        """Return the digest over all records so far."""
        return sha256(self._base + _join(self._parts)).digest()

    def state(self) -> tuple[bytes, bytes, int]:
        """Return what `Chain(*state)` goes on from."""
        return self._base, _join(self._parts), self._count
