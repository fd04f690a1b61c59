"""A state that begins as somebody else's, who is not disturbed: what changes goes elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from stream_app.core.store import Image, StateReader, StateStore

_THERE, _GONE = b"+", b"-"


class Overlay:
    """A reader over `base`, which is never written to; images go to a store made when needed."""

    def __init__(self, base: StateReader, make: Callable[[], StateStore]) -> None:
        self._base = base
        self._make = make
        self._changed: StateStore | None = None

    def save(self, image: Image) -> None:
        """Put what changed on top."""
        if self._changed is None:
            self._changed = self._make()
        writes: dict[str, dict[bytes, bytes | None]] = {
            family: {key: _GONE if value is None else _THERE + value for key, value in rows.items()}
            for family, rows in image.writes.items()
        }
        self._changed.save(Image(image.next_offset, writes))

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the newest value, or None."""
        if self._changed is not None:
            found = self._changed.get(family, key)
            if found is not None:
                return found[1:] if found.startswith(_THERE) else None
        return self._base.get(family, key)

    def scan(
        self, family: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start` <= key < `stop`, in byte order of the keys."""
        if self._changed is None:
            return self._base.scan(family, start, stop, limit)
        on_top = dict(self._changed.scan(family, start, stop, 1 << 62))
        below = self._base.scan(family, start, stop, limit + len(on_top))
        merged = {key: _THERE + value for key, value in below} | on_top
        return [
            (key, value[1:]) for key, value in sorted(merged.items()) if value.startswith(_THERE)
        ][: max(limit, 0)]

    def close(self) -> None:
        """Let go of what changed."""
        if self._changed is not None:
            self._changed.close()
