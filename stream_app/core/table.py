"""A write-back cache over one family of the state store: what changed travels, once a checkpoint.

Entries that come and go between two checkpoints never reach the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from stream_app.core.store import StateReader

V = TypeVar("V")


class Table(Generic[V]):
    """Values by integer, under a prefix of a family's keys.

    `cached_max` bounds the entries that are kept although the store has them too; changed entries
    stay in memory until `collect` hands them to a checkpoint. Between `collect` and `saved` the
    store does not have them yet, so they are served from here.
    """

    def __init__(
        self,
        reader: StateReader,
        family: str,
        prefix: bytes,
        encode: Callable[[V], bytes],
        decode: Callable[[bytes], V],
        *,
        cached_max: int = 10_000,
    ) -> None:
        self._reader = reader
        self._family = family
        self._prefix = prefix
        self._encode = encode
        self._decode = decode
        self._cached_max = cached_max
        self._live: dict[int, V] = {}
        self._dirty: set[int] = set()
        self._gone: set[int] = set()
        self._unsaved: dict[bytes, bytes | None] = {}

    def add(self, key: int, value: V) -> None:
        """Put a key that was never there before."""
        self._live[key] = value
        self._dirty.add(key)

    def pop(self, key: int) -> V | None:
        """Remove and return a value; None when there is none."""
        if key in self._dirty:
            self._dirty.remove(key)
            return self._live.pop(key)
        if key in self._gone:
            return None
        if key in self._live:
            # The value itself may be None; the store has a row for it all the same.
            self._gone.add(key)
            return self._live.pop(key)
        found = self._read(key)
        if found is None:
            return None
        self._gone.add(key)
        return self._decode(found)

    def changes(self) -> int:
        """Return how many entries the next checkpoint will write or delete."""
        return len(self._dirty) + len(self._gone)

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand all changes out, and trim what is only cached."""
        changed: dict[bytes, bytes | None] = {}
        for key in self._dirty:
            changed[self._name(key)] = self._encode(self._live[key])
        for key in self._gone:
            changed[self._name(key)] = None
        self._unsaved.update(changed)
        writes.update(changed)
        self._dirty.clear()
        self._gone.clear()
        for key in list(self._live)[: max(0, len(self._live) - self._cached_max)]:
            del self._live[key]

    def saved(self) -> None:
        """Take note that what was handed out is in the store now."""
        self._unsaved.clear()

    def _read(self, key: int) -> bytes | None:
        name = self._name(key)
        if name in self._unsaved:
            return self._unsaved[name]
        return self._reader.get(self._family, name)

    def _name(self, key: int) -> bytes:
        return self._prefix + key.to_bytes(8, "big")
