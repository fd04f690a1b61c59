"""What the core needs of a state store: reads of what was saved, and the image of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

Writes = Mapping[str, Mapping[bytes, bytes | None]]


class Image(msgspec.Struct, frozen=True, gc=False):
    """Everything that changed since the last image, with the position it stands for.

    `writes` maps a family to its changed keys; None deletes a key. A family is a RocksDB column
    family: one for acceptance, one per version, one for the position.
    """

    next_offset: int
    writes: dict[str, dict[bytes, bytes | None]]


class StateReader(Protocol):
    """Reads of the newest saved state.

    Leaves out writing: the core hands images out, and only a host saves them.
    """

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the saved value, or None."""
        ...

    def scan(
        self, family: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start` <= key < `stop`, in byte order of the keys."""
        ...


def pages(
    reader: StateReader, family: str, limit: int, start: bytes = b"", stop: bytes | None = None
) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield the entries with `start` <= key < `stop`, in byte order, at most `limit` at once."""
    while rows := reader.scan(family, start, stop, limit):
        yield rows
        start = rows[-1][0] + b"\0"


class StateStore(StateReader, Protocol):
    """One partition's state of one lineage, written by one process at a time.

    Leaves out history: it knows its newest saved image and nothing older.
    """

    def save(self, image: Image) -> None:
        """Write an image, atomically and durably: after a crash all of it is there, or none."""
        ...

    def families(self) -> set[str]:
        """Return the families that exist."""
        ...

    def drop(self, family: str) -> None:
        """Remove a family with all its keys."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class NothingSaved:
    """The reader of a state that was never saved."""

    def get(self, family: str, key: bytes) -> bytes | None:  # noqa: ARG002 - the protocol's
        """Return None."""
        return None

    def scan(
        self,
        family: str,  # noqa: ARG002 - the protocol's
        start: bytes,  # noqa: ARG002 - the protocol's
        stop: bytes | None,  # noqa: ARG002 - the protocol's
        limit: int,  # noqa: ARG002 - the protocol's
    ) -> list[tuple[bytes, bytes]]:
        """Return nothing."""
        return []
