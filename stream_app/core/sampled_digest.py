"""The state digest of a version: structural digests of its models, of one key in 64."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from stream_app.core.models import Models
from stream_app.core.store import StateReader
from stream_app.learning.digests import DigestSum, structural_digest

_PREFIX = b"g"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, bytes]).decode


def is_sampled(key: str) -> bool:
    """Tell whether the digest covers a key; one model for all has the key ""."""
    return key == "" or hashlib.sha256(key.encode()).digest()[-1] % 64 == 0


class SampledDigest:
    """A commutative sum over the sampled models' digests, renewed where a model changed.

    The sum does not depend on the order of keys, so any two runs agree at the same position.
    `known` are the user's own classes and functions that models may hold.
    """

    def __init__(self, models: Models, known: Mapping[str, object]) -> None:
        self._models = models
        self._known = known
        self._by_key: dict[str, bytes] = {}
        self._total = DigestSum()
        self.changed: set[str] = set()
        self._unwritten: set[str] = set()
        self._sampled: dict[str, bool] = {}

    def touch(self, key: str) -> None:
        """Take note that a key's model changed."""
        sampled = self._sampled.get(key)
        if sampled is None:
            if len(self._sampled) > 10_000:
                self._sampled.clear()
            sampled = self._sampled[key] = is_sampled(key)
        if sampled:
            self.changed.add(key)

    def reset(self) -> None:
        """Forget all keys: every model starts anew."""
        self._by_key.clear()
        self._total = DigestSum()
        self.changed.clear()
        self._unwritten.clear()

    def total(self) -> bytes:
        """Return the sum as it is now."""
        for key in sorted(self.changed):
            model = self._models.peek(key)
            digest = structural_digest((model.learned, model.model), self._known)
            before = self._by_key.get(key)
            if before is not None:
                self._total.remove(before)
            self._total.add(digest)
            self._by_key[key] = digest
            self._unwritten.add(key)
        self.changed.clear()
        return self._total.total.to_bytes(32, "big")

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand the digests that changed to a checkpoint."""
        for key in self._unwritten:
            entry = (self._models.generation, self._by_key[key])
            writes[_PREFIX + key.encode()] = _encode(entry)
        self._unwritten.clear()

    def load(self, reader: StateReader, family: str, changed: list[str]) -> None:
        """Take saved digests back."""
        for name, value in reader.scan(family, _PREFIX, bytes([_PREFIX[0] + 1]), 1 << 62):
            generation, digest = _decode(value)
            if generation == self._models.generation:
                self._by_key[name[1:].decode()] = digest
                self._total.add(digest)
        self.changed = set(changed)
