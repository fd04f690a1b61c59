"""Files in the log, in pieces that every log takes: what versions begin from."""

from __future__ import annotations

import hashlib

from stream_app.core.importing import FileOrder
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted
from stream_app.records import NewRecord

PIECE_BYTES = 1 << 19
PIECES_AT_ONCE = 8


def sha256_of(data: bytes) -> str:
    """Return what a file is named by, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class BlobTopic:
    """The files of a pipeline; a `Blobs`."""

    def __init__(self, log: Log, pipeline: str) -> None:
        self._log = log
        self._topic = Topics(pipeline).blobs

    def append(self, data: bytes) -> FileOrder:
        """Put a file into the log, durably, and return what names it from then on.

        What is interrupted leaves pieces that nobody asks for.
        """
        self._log.create_topics({self._topic: 1})
        digest = sha256_of(data)
        order = FileOrder(digest, len(data), self._log.bounds(self._topic, 0)[1])
        pieces = [
            NewRecord(
                f"{digest}/{begin // PIECE_BYTES}".encode(), data[begin : begin + PIECE_BYTES]
            )
            for begin in range(0, len(data), PIECE_BYTES)
        ]
        for i in range(0, len(pieces), PIECES_AT_ONCE):
            self._log.append(self._topic, pieces[i : i + PIECES_AT_ONCE])
        return order

    def restore(self, order: FileOrder, data: bytes) -> bool:
        """Put a file back that can no longer be read whole; tells whether that was needed."""
        try:
            self.read(order)
        except LogUntrusted:
            self.append(data)
            return True
        return False

    def read(self, order: FileOrder) -> bytes:
        """Return a file, whose SHA-256 was compared; raises `LogUntrusted` where it is gone."""
        pieces = self._pieces(order)
        wanted = -(-order.size // PIECE_BYTES)
        missing = [i for i in range(wanted) if i not in pieces]
        if missing:
            raise self._gone(order, f"piece {missing[0]} of {wanted} is not there")
        data = b"".join(pieces[i] for i in range(wanted))
        if len(data) != order.size or sha256_of(data) != order.sha256:
            raise self._gone(order, "its bytes are other ones")
        return data

    def _pieces(self, order: FileOrder) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        if self._topic not in self._log.topics():
            return found
        names = {f"{order.sha256}/{i}".encode(): i for i in range(-(-order.size // PIECE_BYTES))}
        offset = max(order.offset, self._log.bounds(self._topic, 0)[0])
        while len(found) < len(names):
            records = self._log.read(self._topic, 0, offset, records_max=PIECES_AT_ONCE)
            if not records:
                break
            for record in records:
                if record.key in names:
                    # The first: what comes later takes nothing away from a file that was whole.
                    found.setdefault(names[record.key], record.value)
            offset = records[-1].offset + 1
        return found

    def _gone(self, order: FileOrder, why: str) -> LogUntrusted:
        return LogUntrusted(
            f"the file {order.sha256[:12]}, from which a version of this log begins, cannot be "
            f"read from {self._topic}: {why}.",
            attempt="stream-app import FILE VERSION MODEL with the very file, which puts it back; "
            f"or restore the log, {self._topic} with it, from a backup. Until then a start without "
            "that version in its file goes on with the others (a champion gives its seat by "
            "stream-app promote PIPELINE OTHER --reason WHY --from-committed)",
        )
