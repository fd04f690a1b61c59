"""Files of models on disk: written whole or not at all, and read once their signature holds.

Whose signature holds is decided here: of a public key that the reader names, or else of one whose
private half lies in the reader's own state directory. What the file says of itself is no reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from stream_app.core.authority import is_public_key
from stream_app.core.environment import this_environment
from stream_app.core.model_file import (
    MAGIC,
    Entry,
    ModelHeader,
    decode_entries,
    decode_head,
    digest_of,
    encode_entry,
    encode_head,
    require_environment,
)
from stream_app.errors import StateUntrusted, UsageError
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning.pickles import ModelPickles
from stream_app.storage.private_files import named_os_errors, replace_in_parts

CHUNK = 1 << 20
SUFFIX = ".stream-model"


def write_model_file(
    path: Path, header: ModelHeader, entries: Iterable[Entry], private_key: bytes
) -> ModelHeader:
    """Put a file (0600) at `path` and return its header, with all that the entries decide in it.

    It takes the place of an older one of the same version, or of one that was trained elsewhere
    too; raises `UsageError` where another file stands, and `StateUnavailable`.
    """
    _require_ours(path, header)
    counted = _Counted(entries)
    with named_os_errors(path), tempfile.TemporaryFile(dir=path.parent) as content:
        size, digest = digest_of(_kept(content, map(encode_entry, counted)))
        header = msgspec.structs.replace(
            header,
            models=counted.models,
            learned=counted.learned,
            content_bytes=size,
            content_sha256=digest,
        )
        content.seek(0)
        replace_in_parts(path, _parts(encode_head(header, private_key), content))
    return header


class _Counted:
    """Entries on their way, counted."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self.models = 0
        self.learned = 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self.models += 1
            self.learned += entry.learned
            yield entry


def _kept(file: BinaryIO, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def _parts(head: bytes, content: BinaryIO) -> Iterator[bytes]:
    yield head
    while chunk := content.read(CHUNK):
        yield chunk


def _require_ours(path: Path, header: ModelHeader) -> None:
    with named_os_errors(path):
        if not path.exists():
            return
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(MAGIC)) == MAGIC:
                    file.seek(0)
                    _require_same_kind(path, decode_head(file.readline, str(path)), header)
                    return
    raise UsageError(
        f"{path} is there, and is no file that stream-app export has written",
        attempt=f"another name, such as model{SUFFIX}",
    )


def _require_same_kind(path: Path, present: ModelHeader, header: ModelHeader) -> None:
    """Refuse to lose a model that was trained elsewhere, say, for an export to the same name."""
    if _whom(present) != _whom(header):
        raise UsageError(
            f"{path} is there, and has {_whom(present)}, not {_whom(header)}",
            attempt="another name, or remove it first",
        )


def _whom(header: ModelHeader) -> str:
    origin = header.origin
    if origin is None:
        return "a model that was trained elsewhere"
    return f"{origin.version} of {origin.pipeline}"


@contextmanager
def opened_model_file(path: Path) -> Iterator[tuple[ModelHeader, Callable[[], Iterator[Entry]]]]:
    """Yield a file's header, which its own key has signed, and what yields its entries.

    Raises `UsageError`, `StateUnavailable` and `StateUntrusted`, as `decode_head` does.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}", attempt="the path of a file of stream-app export"
        )
    with named_os_errors(path), path.open("rb") as file:
        header = decode_head(file.readline, str(path))
        yield header, lambda: decode_entries(file.read, header, str(path))


def key_here(header: ModelHeader, state: StateDirectory) -> Path | None:
    """Return the file of the key that signed, if the state directory has it."""
    return state.own_public_keys().get(header.public_key)


def require_trusted(
    header: ModelHeader, path: Path, public_key: str | None, state: StateDirectory
) -> None:
    """Raise `StateUntrusted` unless the file's key is the named one, or one that is here."""
    shown = header.public_key
    if public_key is not None:
        if not is_public_key(public_key):
            raise UsageError(
                f"{public_key[:80]!r} is no public key",
                attempt="the 64 hexadecimal digits that stream-app keys shows",
            )
        if public_key != shown:
            raise StateUntrusted(
                f"{path} is signed by the key {shown}, not by {public_key}.",
                attempt="ask whoever gave you the file for another one, or for the right key",
            )
    elif key_here(header, state) is None:
        raise StateUntrusted(
            f"{path} is signed by the key {header.key_name} ({shown}), which is none of those in "
            f"{state.root / 'keys'}.",
            attempt=f'public_key="{shown}" (--public-key) if whoever runs {_whose(header)} says '
            "that this is their key: stream-app keys shows it there",
        )


def _whose(header: ModelHeader) -> str:
    return "its source" if header.origin is None else header.origin.pipeline


def one_model(
    path: Path,
    key: str,
    *,
    known: dict[str, object] | None,
    public_key: str | None,
    state: StateDirectory,
) -> object:
    """Return the model of a key ("" where there is one for all) that a trusted file holds.

    `known` is the users' own code, None if no file was named that has it. Nothing is unpickled
    before all of the file has been checked. Raises `UsageError`, `StateUntrusted`,
    `EnvironmentDiffers`.
    """
    found = None
    with opened_model_file(path) as (header, entries):
        require_trusted(header, path, public_key, state)
        require_environment(header, this_environment(), str(path))
        _require_key(header, path, key)
        require_code(header, path, known)
        for entry in entries():
            if entry.key == key:
                found = entry
    if found is None:
        raise UsageError(
            f"{path} has no model of the key {key!r}",
            attempt="a key of an event that was processed before it was exported",
        )
    return ModelPickles(known or {}).loads(found.image)


def _require_key(header: ModelHeader, path: Path, key: str) -> None:
    if header.keyed != bool(key):
        raise UsageError(
            f"{path} has {'one model for each key' if header.keyed else 'one model for all keys'}",
            attempt='load_model(..., key="...")' if header.keyed else "leave `key` out",
        )


def require_code(header: ModelHeader, path: Path, known: dict[str, object] | None) -> None:
    """Raise an error unless the users' own code that the models consist of is known."""
    missing = [name for name in header.own if name not in (known or {})]
    if not missing:
        return
    if known is None:
        raise UsageError(
            f"the model in {path} consists of code of yours: {', '.join(missing)}",
            attempt='load_model(..., pipeline="flights.py") with the file that declares it',
        )
    raise StateUntrusted(
        f"the model in {path} consists of {', '.join(missing)}, which the pipeline's file no "
        "longer has.",
        attempt="the file as it was when the model was exported",
    )
