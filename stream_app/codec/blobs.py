"""Sealed blobs: bytes that prove who wrote them, and for which place, before anybody reads them."""

from __future__ import annotations

import hmac

from stream_app.errors import StateUntrusted, UsageError

KEY_BYTES = 32
"""Of a seal key."""
OVERHEAD_BYTES = 33
"""What a seal adds to a payload: one format byte and the whole HMAC-SHA256 tag."""

_FORMAT = b"\x01"
_LENGTH_BYTES = 8
_CONTEXT_SHOWN_MAX = 200


class BlobSeal:
    """Seals payloads under one secret key and opens only what was sealed under it.

    A seal covers the payload and its context, which says where the blob belongs (pipeline,
    version, partition, key): a blob moved to another place does not open there. It does not hide
    the payload, and an older blob of the same place opens (the position beside it tells).

    HMAC-SHA256 (RFC 2104) over format byte, length of the context, context, payload.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise UsageError(
                f"A seal key has {KEY_BYTES} bytes, this one has {len(key)}.",
                attempt="take the key that load_or_create_seal_key returns",
            )
        self._keyed = hmac.new(key, _FORMAT, "sha256")

    @property
    def key_id(self) -> bytes:
        """Eight bytes that tell one key from another and say nothing else about it."""
        return self._tag(b"key id", b"")[:8]

    def seal(self, context: bytes, payload: bytes) -> bytes:
        """Return `payload` as a blob that opens only under this key and context."""
        return b"".join((_FORMAT, self._tag(context, payload), payload))

    def open(self, context: bytes, blob: bytes) -> bytes:
        """Return the payload of `blob`, verified; raises `StateUntrusted` naming the context."""
        if len(blob) < OVERHEAD_BYTES:
            raise _untrusted(context, f"is too short to be sealed ({len(blob)} bytes)")
        if blob[:1] != _FORMAT:
            raise _untrusted(context, f"has the unknown format {blob[0]}")
        tag = self._tag(context, memoryview(blob)[OVERHEAD_BYTES:])
        if not hmac.compare_digest(tag, blob[1:OVERHEAD_BYTES]):
            raise _untrusted(context, "was changed, moved here, or sealed with another key")
        return blob[OVERHEAD_BYTES:]

    def _tag(self, context: bytes, payload: bytes | memoryview) -> bytes:
        mac = self._keyed.copy()
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        mac.update(len(context).to_bytes(_LENGTH_BYTES, "big"))
        mac.update(context)
        mac.update(payload)
        return mac.digest()


def _untrusted(context: bytes, what: str) -> StateUntrusted:
    place = repr(context[:_CONTEXT_SHOWN_MAX])[2:-1]
    return StateUntrusted(
        f"The saved blob of {place} {what}.",
        attempt="put the seal key back that this state was written with, or delete the state "
        "directory and start again: state is a fold of the log and is rebuilt from it",
    )
