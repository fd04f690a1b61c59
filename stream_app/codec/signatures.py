"""Signatures of controls: ed25519 over canonical bytes, so that only a key's owner may promote."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping

from stream_app.errors import UsageError

# `cryptography` is imported inside the functions: it costs every command 70 ms that few need.

_ALGORITHM = "ed25519"
_KEY_NAME = re.compile(r"[a-z0-9-]+\Z")
_SIGNATURE_BYTES = 64
_NOT_SIGNED = ("sig", "kind")


def canonical(control_fields: Mapping[str, object], pipeline: str, log_id: str) -> bytes:
    """Return the bytes that a control's signature covers.

    That is `{"control": {...}, "log_id": ..., "pipeline": ...}` as JSON in UTF-8: keys sorted by
    code point, no spaces, numbers as Python writes them, characters unescaped where JSON allows.
    Pipeline and log keep a control from being played to another one. The fields leave out `sig`,
    `kind` (always "control") and those that are null, which mean the same as absent. Raises
    `UsageError` for what JSON cannot hold (NaN, bytes, half a surrogate pair).
    """
    control = {
        name: value
        for name, value in control_fields.items()
        if value is not None and name not in _NOT_SIGNED
    }
    signed = {"control": control, "log_id": log_id, "pipeline": pipeline}
    try:
        return json.dumps(
            signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The control {control_fields.get('id')!r} cannot be written as JSON: {error}.",
            attempt="give it text, finite numbers, booleans, lists and mappings only",
        ) from error


def sign(private_key: bytes, key_name: str, message: bytes) -> str:
    """Return the signature of `message` as `ed25519:<key name>:<base64url without padding>`.

    `private_key` is the raw 32 bytes. Equal inputs give the equal signature (RFC 8032).
    """
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    if not _KEY_NAME.match(key_name):
        raise UsageError(
            f"{key_name!r} cannot name a key.", attempt="use lower-case letters, digits and -"
        )
    _refuse_other_lengths(private_key)
    signature = ed25519.Ed25519PrivateKey.from_private_bytes(private_key).sign(message)
    return f"{_ALGORITHM}:{key_name}:{_encode(signature)}"


def verify(public_key: bytes, message: bytes, sig: str) -> bool:
    """Return whether `sig` is this key's signature of `message`; False for any garbage.

    The key's name in `sig` only helps to find the key (`key_name_of`); it is not covered.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    signature = _signature_bytes(sig)
    if signature is None:
        return False
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_name_of(sig: str) -> str | None:
    """Return the name of the key that `sig` says it was made with, or None for garbage."""
    return sig.split(":")[1] if _signature_bytes(sig) is not None else None


def public_key(private: bytes) -> bytes:
    """Return the raw 32 bytes of the public key that belongs to a raw private one."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    _refuse_other_lengths(private)
    return ed25519.Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _signature_bytes(sig: str) -> bytes | None:
    """Read the one spelling that `sign` writes; another one of the same bytes is garbage."""
    parts = sig.split(":")
    if len(parts) != 3 or parts[0] != _ALGORITHM or not _KEY_NAME.match(parts[1]):
        return None
    try:
        signature = base64.urlsafe_b64decode(parts[2] + "==")
    except (binascii.Error, ValueError):
        return None
    if len(signature) != _SIGNATURE_BYTES or _encode(signature) != parts[2]:
        return None
    return signature


def _encode(signature: bytes) -> str:
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def _refuse_other_lengths(private_key: bytes) -> None:
    if len(private_key) != 32:
        raise UsageError(
            f"An ed25519 private key has 32 bytes, this one has {len(private_key)}.",
            attempt="take the key that load_or_create_signing_key returns",
        )
