"""Models that a checkpoint has put into bytes and that nobody has called since."""

from __future__ import annotations

from typing import NamedTuple


class Resting(NamedTuple):
    """The bytes of a model and the number of examples it has learned."""

    learned: int
    image: bytes


class RestingModels:
    """Bytes by key, the ones that have rested longest first.

    The store has them too, or will before anything else is read of it, so any may be dropped.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._by_key: dict[str, Resting] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def put(self, key: str, learned: int, image: bytes) -> None:
        """Let a model rest."""
        self.take(key)
        self._by_key[key] = Resting(learned, image)
        self._bytes += len(image)

    def take(self, key: str) -> Resting | None:
        """Return a model that is called again."""
        found = self._by_key.pop(key, None)
        if found is not None:
            self._bytes -= len(found.image)
        return found

    def clear(self) -> None:
        """Drop all."""
        self._by_key.clear()
        self._bytes = 0

    def trim(self, models_max: int) -> None:
        """Drop the oldest while there are more than so many and more bytes than are allowed."""
        while len(self._by_key) > models_max and self._bytes > self._bytes_max:
            self.take(next(iter(self._by_key)))
