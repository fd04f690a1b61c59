"""A state store that keeps a checkpoint now and then, and never stops live work over that."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Protocol

from stream_app.core.keeping import Keep
from stream_app.core.store import Image
from stream_app.errors import StreamAppError
from stream_app.hosts.checkpoints import bytes_on_disk
from stream_app.hosts.partition_host import Store
from stream_app.hosts.store_around import StoreAround
from stream_app.storage.kept_directory import Kept, KeptDirectory

AGAIN_S = 60.0
_log = logging.getLogger("stream_app")


class Keepable(Store, Protocol):
    """A store that can be copied as it was saved last."""

    def keep(self, path: Path) -> None:
        """Make a whole copy of what is saved in directory `path`."""
        ...


class KeepingStore(StoreAround[Keepable]):
    """The store of a partition whose checkpoints are kept as `policy` says.

    An image that is saved stands for a committed position, so nothing that is kept is ever ahead
    of the log. When keeping fails that is logged, and tried again a minute later.
    """

    def __init__(self, store: Keepable, kept: KeptDirectory, policy: Keep, origin: int) -> None:
        super().__init__(store)
        self._kept = kept
        self._policy = policy
        self._origin = origin
        self._silent_until_s = 0.0
        self._made_s: float | None = None
        self._offsets: list[int] = []
        try:
            self._offsets = [entry.next_offset for entry in self._made_by_policy()]
            if self._kept.path.exists():
                with self._kept.changing(wait=False):  # clears away what a crash has left
                    self._made_s = self._newest_made_s()
        except (StreamAppError, OSError) as error:
            self._put_off(error)

    def save(self, image: Image) -> None:
        """Write an image, atomically and durably, and keep it if it is due."""
        self._store.save(image)
        now = time.monotonic()
        if now < self._silent_until_s or not self._due(image.next_offset):
            return
        try:
            self._keep(image.next_offset)
        except (StreamAppError, OSError) as error:
            self._put_off(error)

    def _due(self, saved: int) -> bool:
        # A rebuild comes by what was kept before: only those below count.
        below = max((offset for offset in self._offsets if offset <= saved), default=self._origin)
        now = time.time()
        if self._made_s is None:
            self._made_s = now
        return self._policy.due(below, saved, now - self._made_s)

    def _keep(self, next_offset: int) -> None:
        with self._kept.changing(wait=False):
            self._kept.require_room(bytes_on_disk(self._kept.live))
            self._kept.put(next_offset, "", self._store.keep)
            self._made_s = time.time()
            by_offset = {entry.next_offset: entry for entry in self._made_by_policy()}
            for offset in self._policy.surplus(list(by_offset), self._origin):
                self._kept.drop(by_offset.pop(offset))
            self._offsets = list(by_offset)

    def _made_by_policy(self) -> list[Kept]:
        return [entry for entry in self._kept.entries() if not entry.name]

    def _newest_made_s(self) -> float | None:
        times = [entry.path.stat().st_mtime for entry in self._made_by_policy()]
        return max(times, default=None)

    def _put_off(self, error: Exception) -> None:
        self._silent_until_s = time.monotonic() + AGAIN_S
        fields = {"directory": str(self._kept.path), "problem": str(error)}
        _log.warning("checkpoint_not_kept", extra={"fields": fields})
