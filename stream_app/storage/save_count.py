"""How often a state was saved, kept beside its RocksDB so that a roll-back inside that shows."""

from __future__ import annotations

from pathlib import Path

from stream_app.errors import StateUnavailable
from stream_app.storage.private_files import named_os_errors, replace


class SaveCount:
    """A number in a small file of its own, replaced whole after every save.

    It never runs ahead of what was durably saved, so a RocksDB that counts less has lost saves.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """Return the number, or None where no readable one is."""
        try:
            with named_os_errors(self._path):
                text = self._path.read_bytes().strip()
        except StateUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return int(text) if text.isdigit() else None

    def write(self, count: int) -> None:
        """Replace the number, atomically and durably."""
        replace(self._path, b"%d\n" % count)
