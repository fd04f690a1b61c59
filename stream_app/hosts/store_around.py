"""A state store around another one, for what does more at some of its steps."""

from __future__ import annotations

from typing import Generic, TypeVar

from stream_app.core.store import Image
from stream_app.hosts.partition_host import Store

S = TypeVar("S", bound=Store)


class StoreAround(Generic[S]):
    """Hands everything on to the store inside, which it owns."""

    def __init__(self, store: S) -> None:
        self._store = store

    @property
    def rolled_back(self) -> bool:
        """Whether the state came back older than it was left."""
        return self._store.rolled_back

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the saved value, or None."""
        return self._store.get(family, key)

    def scan(
        self, family: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start` <= key < `stop`, in byte order of the keys."""
        return self._store.scan(family, start, stop, limit)

    def families(self) -> set[str]:
        """Return the families that exist."""
        return self._store.families()

    def save(self, image: Image) -> None:
        """Write an image, atomically and durably."""
        self._store.save(image)

    def drop(self, family: str) -> None:
        """Remove a family with all its keys."""
        self._store.drop(family)

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()
