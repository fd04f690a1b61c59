"""A version's models by key: a bounded cache of live ones over the state store.

One model for the pipeline, one per partition and one per key are the same mechanism; the first
two have the one key "".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from stream_app.codec.blobs import BlobSeal
from stream_app.core.memory import Memory
from stream_app.core.model_file import Entry
from stream_app.core.resting_models import RestingModels
from stream_app.core.store import StateReader, pages
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.tasks import Task
from stream_app.learning.undo import RELOAD_BYTES_MAX, UndoableModel

# A journal is worth an image once making the calls again costs more than the dump; bytes stand
# for the dump's cost, so that no clock is needed.
JOURNAL_MIN: Final = 4096
JOURNAL_MAX: Final = 16_384
BYTES_PER_CALL = 8
_PREFIX = b"m"
_AFTER = b"n"
_SCAN = 1000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, bytes]).decode


class Models:
    """Live models by key.

    A key whose saved model is of an earlier generation starts anew: that is how one number
    resets all models. At `live_max` the least recently used model is put into bytes; they stay
    in memory until the next checkpoint, because only a checkpoint writes. What a checkpoint has
    put into bytes stays as bytes until it is called again: of many keys most are not, before
    others have taken their places. Bytes are small, so more of them are kept than live models.
    """

    def __init__(
        self,
        reader: StateReader,
        family: str,
        *,
        seal: BlobSeal,
        context: bytes,
        task: Task,
        prototype: bytes,
        pickles: ModelPickles,
        memory: Memory,
        copies: bool = False,
        lasting: bool = False,
    ) -> None:
        self._reader = reader
        self._family = family
        self._seal = seal
        self._context = context
        self._task = task
        self._prototype = prototype
        self._pickles = pickles
        self._live_max = memory.live_max
        self._copies = copies
        self._lasting = lasting
        self.generation = 0
        self._live: dict[str, UndoableModel] = {}
        self._changed: set[str] = set()
        self._called: set[str] = set()  # since the last `trim`; not all of them in `_changed` yet
        self._evicted: dict[str, tuple[int, bytes]] = {}
        self._at_rest = RestingModels(memory.rest_bytes_max)  # not changed since the last image
        self._unsaved: dict[bytes, bytes | None] = {}

    def get(self, key: str) -> UndoableModel:
        """Return a key's model, marked as changed, for one call of predict or learn."""
        model = self._live.get(key)
        if model is None:
            model = self._bring(key)
        elif len(self._live) > 1:
            # A dict keeps insertion order, so putting a key in again makes it the newest.
            self._live[key] = self._live.pop(key)
        self._called.add(key)
        return model

    def peek(self, key: str) -> UndoableModel:
        """Return a key's model for reading."""
        return self._live.get(key) or self._bring(key)

    def _bring(self, key: str) -> UndoableModel:
        learned, image = self._bytes(key)
        model = self._live[key] = UndoableModel(
            self._task,
            image,
            learned,
            self._pickles,
            copies=self._copies,
            lasting=self._lasting,
        )
        return model

    def _bytes(self, key: str) -> tuple[int, bytes]:
        if key in self._evicted:
            self._changed.add(key)
            return self._evicted.pop(key)
        resting = self._at_rest.take(key)
        if resting is not None:
            return resting
        name = _PREFIX + key.encode()
        blob = self._unsaved.get(name) or self._reader.get(self._family, name)
        if blob is not None:
            generation, learned, image = _decode(self._seal.open(self._context + name, blob))
            if generation == self.generation:
                return learned, image
        return 0, self._prototype

    def stored(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (key, examples learned, bytes) of every model in the store, in the keys' order.

        What has changed since the last image is not there yet. A key that would start anew with
        its next event has none.
        """
        for rows in pages(self._reader, self._family, _SCAN, _PREFIX, _AFTER):
            for name, blob in rows:
                generation, learned, image = _decode(self._seal.open(self._context + name, blob))
                if generation == self.generation:
                    yield name[len(_PREFIX) :].decode(), learned, image

    def trim(self) -> None:
        """End a batch: bound what grew, journals that are long and live models."""
        for key in self._called:
            model = self._live.get(key)
            if model is None:
                continue
            model.settle()
            if model.calls_since_image() > JOURNAL_MIN:
                wanted = model.image_bytes() // BYTES_PER_CALL
                if model.calls_since_image() > min(max(wanted, JOURNAL_MIN), JOURNAL_MAX):
                    model.image()
        self._note_called()
        self._called.clear()
        # Every model at rest was used before any that has been made live since.
        self._at_rest.trim(max(0, self._live_max - len(self._live)))
        for key in list(islice(self._live, max(0, len(self._live) - self._live_max))):
            self._evict(key)

    def _note_called(self) -> None:
        """Count what was called among what changed: in bulk, not at every call."""
        self._changed |= self._called

    def _evict(self, key: str) -> None:
        model = self._live.pop(key)
        if key in self._changed:
            self._changed.remove(key)
            self._evicted[key] = (model.learned, model.last_image())

    def reset(self) -> None:
        """Let every key start anew with its next event."""
        self.generation += 1
        self._live.clear()
        self._called.clear()
        self._changed.clear()
        self._evicted.clear()
        self._at_rest.clear()

    def take(self, entries: Iterable[Entry]) -> None:
        """Begin with these models; keys that are not among them begin untrained.

        For a version that has met nothing yet. They are in memory until the next checkpoint.
        """
        # Whoever took a digest has looked at the untrained one, which may be live or at rest.
        self._live.clear()
        self._at_rest.clear()
        self._evicted.update({entry.key: (entry.learned, entry.image) for entry in entries})

    def changes(self) -> int:
        """Return how many models the next checkpoint will write."""
        self._note_called()
        return len(self._changed) + len(self._evicted)

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand the bytes of all changed models to a checkpoint."""
        changed: dict[bytes, bytes | None] = {}
        self._note_called()
        for key, model in list(self._live.items()):
            small = model.image_bytes() <= RELOAD_BYTES_MAX
            image = model.last_image() if small else model.image()
            if key in self._changed:
                changed[_PREFIX + key.encode()] = self._blob(key, model.learned, image)
            if len(image) <= RELOAD_BYTES_MAX:
                # To be used again it is made anew from its bytes, as `UndoableModel.image` would.
                self._at_rest.put(key, model.learned, image)
                del self._live[key]
        for key, (learned, image) in self._evicted.items():
            changed[_PREFIX + key.encode()] = self._blob(key, learned, image)
            if len(image) <= RELOAD_BYTES_MAX:
                self._at_rest.put(key, learned, image)
        self._called.clear()
        self._changed.clear()
        self._evicted.clear()
        self._unsaved.update(changed)
        writes.update(changed)

    def _blob(self, key: str, learned: int, image: bytes) -> bytes:
        name = _PREFIX + key.encode()
        return self._seal.seal(self._context + name, _encode((self.generation, learned, image)))

    def saved(self) -> None:
        """Take note that what was handed out is in the store now."""
        self._unsaved.clear()
