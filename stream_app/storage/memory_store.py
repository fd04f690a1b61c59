"""The in-memory double of the state store: the same answers, gone with the process."""

from __future__ import annotations

from bisect import bisect_left

from stream_app.core.store import Image
from stream_app.errors import StateUnavailable


class MemoryStore:
    """A `StateStore` in dictionaries, for tests and for folds that need no disk.

    Leaves out what only a disk can do: it never fails, and its `rolled_back` is always False.
    Reads hand out the bytes objects that were saved. `scan` sorts the family's keys each time,
    which is fine for thousands of keys and slow for millions.
    """

    def __init__(self) -> None:
        self._families: dict[str, dict[bytes, bytes]] = {}
        self._saved_offset: int | None = None
        self._save_count = 0
        self._closed = False

    @property
    def rolled_back(self) -> bool:
        """False: memory loses everything or nothing."""
        return False

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the saved value, or None."""
        self._refuse_when_closed()
        return self._families.get(family, {}).get(key)

    def scan(
        self, family: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start` <= key < `stop`, in byte order of the keys."""
        self._refuse_when_closed()
        values = self._families.get(family, {})
        keys = sorted(values)
        first = bisect_left(keys, start)
        last = len(keys) if stop is None else bisect_left(keys, stop)
        return [(key, values[key]) for key in keys[first:last][: max(limit, 0)]]

    def save(self, image: Image) -> None:
        """Take an image over, all of it."""
        self._refuse_when_closed()
        for family, writes in image.writes.items():
            values = self._families.setdefault(family, {})
            for key, value in writes.items():
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
        self._saved_offset = image.next_offset
        self._save_count += 1

    def saved_offset(self) -> int | None:
        """Return the newest image's `next_offset`, or None when nothing was ever saved."""
        self._refuse_when_closed()
        return self._saved_offset

    def save_count(self) -> int:
        """Return how many images were saved in this store's life."""
        self._refuse_when_closed()
        return self._save_count

    def families(self) -> set[str]:
        """Return the families that exist: every one an image named, less the dropped ones."""
        self._refuse_when_closed()
        return set(self._families)

    def drop(self, family: str) -> None:
        """Remove a family with all its keys; nothing happens when there is none."""
        self._refuse_when_closed()
        self._families.pop(family, None)

    def close(self) -> None:
        """Refuse further use; `reopened` gives the same content again."""
        self._closed = True

    def reopened(self) -> MemoryStore:
        """Close this store and return one with what was saved, as a restart of a host would."""
        self.close()
        successor = MemoryStore()
        successor._families = self._families
        successor._saved_offset = self._saved_offset
        successor._save_count = self._save_count
        return successor

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StateUnavailable("The state store in memory is closed.", attempt="open it again")
