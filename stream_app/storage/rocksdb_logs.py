"""Damage in RocksDB's logs that its own reader would never return from, found before it reads."""

from __future__ import annotations

import struct
from pathlib import Path

from stream_app.storage.private_files import named_os_errors
from stream_app.storage.rocksdb_errors import damaged

# Write-ahead logs and manifests share one format: blocks of 32 KiB, in each of them records of
# checksum, length, type and content, and at most six bytes that are left over. (RocksDB wiki,
# "Write Ahead Log File Format")
_BLOCK_BYTES = 32 << 10
_HEADER = struct.Struct("<4xHB")
# Our logs are never recycled, so these types are flipped bits. RocksDB from 9.2 on takes such a
# record for a left-over of the recycled file and then looks at it again, for ever, before it has
# compared any checksum: https://github.com/facebook/rocksdb/issues/13333
_RECYCLED_TYPES = frozenset({5, 6, 7, 8, 11})


def refuse_endless_logs(path: Path, directory: Path) -> None:
    """Raise `StateUntrusted` about the state in `path` if reading `directory` would not end.

    Every other damage is RocksDB's own to find: it has the checksums.
    """
    with named_os_errors(directory):
        logs = [log for pattern in ("MANIFEST-*", "*.log") for log in directory.glob(pattern)]
    for log in sorted(logs):
        if (place := _recycled_record(log)) is not None:
            raise damaged(path, f"{log.name} has no valid record at byte {place}")


def _recycled_record(log: Path) -> int | None:
    """Return the place of the first record of a recycled type, or None."""
    with named_os_errors(log):
        try:
            file = log.open("rb")
        except FileNotFoundError:  # a reader came while the writer removed it
            return None
        with file:
            start = 0
            while block := file.read(_BLOCK_BYTES):
                place = 0
                while place + _HEADER.size <= len(block):
                    length, kind = _HEADER.unpack_from(block, place)
                    if kind in _RECYCLED_TYPES:
                        return start + place
                    if kind == 0:  # padding: the rest of the block holds nothing
                        break
                    place += _HEADER.size + length
                start += len(block)
    return None
