"""Key files: secrets that are made once, durably, and refused when others could read them."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from stream_app.codec.blobs import KEY_BYTES as SEAL_KEY_BYTES
from stream_app.errors import StateUnavailable, StateUntrusted
from stream_app.storage.private_files import make_private_directory, named_os_errors, write_new

_FILE_BYTES_MAX = 4096
_RAW_SIGNING_KEY_BYTES = 32


def load_or_create_seal_key(path: Path | str) -> bytes:
    """Return the 32 secret bytes in file `path`, made at random if there is none.

    Processes that start at once agree on one key. Raises `StateUntrusted` when other users could
    have read or replaced it or when its size is wrong, `StateUnavailable` when it cannot be read.
    """
    path = Path(path)
    key = _load_or_create(path, lambda: secrets.token_bytes(SEAL_KEY_BYTES))
    if len(key) != SEAL_KEY_BYTES:
        raise StateUntrusted(
            f"The seal key {path} has {len(key)} bytes instead of {SEAL_KEY_BYTES}.",
            attempt="put the file back from a copy, or delete it together with the state that it "
            "sealed: state is a fold of the log and is rebuilt from it",
        )
    return key


def load_or_create_signing_key(path: Path | str) -> bytes:
    """Return the raw 32 bytes of the ed25519 private key in file `path`, made if there is none.

    The file is unencrypted PEM (PKCS #8, as `openssl genpkey -algorithm ed25519` writes it) or
    the raw bytes. Errors as for the seal key.
    """
    path = Path(path)
    data = _load_or_create(path, _new_signing_key)
    return data if len(data) == _RAW_SIGNING_KEY_BYTES else _from_pem(path, data)


def _new_signing_key() -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 (slow to import)
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _from_pem(path: Path, data: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise _no_signing_key(path) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _no_signing_key(path)
    return key.private_bytes_raw()


def _no_signing_key(path: Path) -> StateUntrusted:
    return StateUntrusted(
        f"{path} holds no unencrypted ed25519 private key.",
        attempt=f"put the file back from a copy (openssl pkey -noout -in {path} checks one)",
    )


def _load_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    make_private_directory(path.parent)
    key = _load(path)
    if key is None:
        # Whoever comes second reads what the first one wrote: hence no `return` of our own bytes.
        write_new(path, make())
        key = _load(path)
    if key is None:
        raise StateUnavailable(f"{path} was removed while it was made.", attempt="start again")
    return key


def _load(path: Path) -> bytes | None:
    """Return the file's bytes, or None when there is no file."""
    with named_os_errors(path):
        try:
            # Not blocking: a named pipe in its place would wait for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            _refuse_readers(path, os.fstat(descriptor).st_mode)
            return file.read(_FILE_BYTES_MAX)


def _refuse_readers(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise StateUntrusted(f"{path} is no ordinary file.", attempt=f"look at it: ls -l {path}")
    if mode & 0o077:
        raise StateUntrusted(
            f"Other users may use the key {path} (mode {stat.S_IMODE(mode):04o}).",
            attempt=f"chmod 600 {path}",
        )
