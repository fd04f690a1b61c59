"""A version's models as one signed file: what stands in it, and whose key says so.

The file is a magic line, a header as one line of JSON, the header's signature as one line, and the
content: every model by key. The header has the content's digest, so one signature covers all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from stream_app.codec.signatures import key_name_of, sign, verify
from stream_app.core.authority import is_public_key
from stream_app.core.environment import Environment
from stream_app.core.settings import canonical_json
from stream_app.errors import EnvironmentDiffers, StateUntrusted, UsageError

FORMAT = 1
MAGIC = b"stream-model\n"
HEADER_BYTES_MAX = 1 << 20
# Controls are signed over JSON, which never begins like this: no signature passes for another.
_SIGNED = b"stream-app model file\n"
_NUMBER_BYTES = 8
_KEY_BYTES_MAX = 1 << 20
Read = Callable[[int], bytes]


class Origin(msgspec.Struct, frozen=True):
    """Where in which log the models were: before the record at `next_offset` was read.

    `state_digest` is what the `state_digest` output has at that position, `chain` likewise.
    """

    pipeline: str
    log_id: str
    version: str
    definition: str
    partition: int
    next_offset: int
    chain: str
    state_digest: str


class ModelHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of its content; no `origin` if the model was trained elsewhere.

    `own` are the users' classes and functions that the models consist of, by name. `failed` says
    why the version predicts nothing any more, if it has failed.
    """

    format: int = FORMAT
    origin: Origin | None
    environment: Environment
    task: dict[str, Any]
    features: list[str] | None
    keyed: bool
    models: int
    learned: int
    failed: str | None = None
    own: list[str] = []
    content_bytes: int
    content_sha256: str
    created_by: str
    key_name: str
    public_key: str


class Entry(NamedTuple):
    """One model: whose it is ("" for the only one), what it has learned, its bytes."""

    key: str
    learned: int
    image: bytes


class _Format(msgspec.Struct):
    format: int


_decode_format = msgspec.json.Decoder(_Format).decode
_decode_header = msgspec.json.Decoder(ModelHeader).decode


def encode_head(header: ModelHeader, private_key: bytes) -> bytes:
    """Return all of a file that stands before its content."""
    line = canonical_json(header)
    signature = sign(private_key, header.key_name, _SIGNED + line)
    return b"".join((MAGIC, line, b"\n", signature.encode(), b"\n"))


def decode_head(read_line: Callable[[int], bytes], where: str) -> ModelHeader:
    """Return the header that stands in lines, which its own key has signed.

    Whether that key is to be trusted is for the caller to say. Raises `UsageError` for a file of
    another kind, `StateUntrusted` for one that is too new, cut short or changed.
    """
    if read_line(len(MAGIC)) != MAGIC:
        raise UsageError(
            f"{where} is no file that stream-app export has written",
            attempt="a file of stream-app export; a pickle of your own becomes one by "
            "stream_app.pack_model(model, path, ...)",
        )
    line, signature = read_line(HEADER_BYTES_MAX), read_line(200)
    if not (line.endswith(b"\n") and signature.endswith(b"\n")):
        raise untrusted(where, "is cut short")
    header = _header(line[:-1], where)
    public = header.public_key
    sig = signature[:-1].decode("utf-8", "replace")
    if not is_public_key(public) or key_name_of(sig) != header.key_name:
        raise untrusted(where, "names no key that it could be signed with")
    if not verify(bytes.fromhex(public), _SIGNED + line[:-1], sig):
        raise untrusted(where, "was changed: its signature is not of what it says")
    return header


def _header(line: bytes, where: str) -> ModelHeader:
    try:
        found = _decode_format(line).format
        if found > FORMAT:
            raise StateUntrusted(
                f"{where} has the format {found}; this release reads up to {FORMAT}.",
                attempt="a newer release of stream-app",
            )
        return _decode_header(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise untrusted(where, f"has a header that cannot be read: {error}") from None


def untrusted(where: str, what: str) -> StateUntrusted:
    """Return the error for a file that is not as it was written."""
    return StateUntrusted(
        f"{where} {what}.",
        attempt="fetch the file again, or stream-app export again: the log gives the same state",
    )


def require_environment(header: ModelHeader, now: Environment, where: str) -> None:
    """Raise `EnvironmentDiffers` where the models cannot be loaded exactly."""
    try:
        header.environment.check(now, where)
    except EnvironmentDiffers as error:
        then = header.environment
        raise EnvironmentDiffers(
            error.problem,
            attempt=f"an installation with Python {then.python}, river=={then.river} and "
            f"numpy=={then.numpy}; or stream-app export again from a log that was learned under "
            "this one",
        ) from None


def encode_entry(entry: Entry) -> bytes:
    """Return an entry's bytes."""
    key = entry.key.encode()
    numbers = (len(key), entry.learned, len(entry.image))
    head = b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in numbers)
    return b"".join((head, key, entry.image))


def decode_entries(read: Read, header: ModelHeader, where: str) -> Iterator[Entry]:
    """Yield a file's entries, and raise at the end unless they are what the header says.

    So nothing of them is to be used before the last one was asked for.
    """
    digest, left = hashlib.sha256(), header.content_bytes

    def take(size: int) -> bytes:
        nonlocal left
        data = read(size) if size <= left else b""
        if len(data) != size:
            raise untrusted(where, "is cut short, or was changed")
        digest.update(data)
        left -= size
        return data

    for _ in range(header.models):
        numbers = take(3 * _NUMBER_BYTES)
        size, learned, image = (
            int.from_bytes(numbers[i : i + _NUMBER_BYTES], "big")
            for i in range(0, len(numbers), _NUMBER_BYTES)
        )
        if size > _KEY_BYTES_MAX:
            raise untrusted(where, "was changed: it has a key of that many bytes")
        key = take(size).decode("utf-8", "replace")
        yield Entry(key, learned, take(image))
    if left or read(1) or digest.hexdigest() != header.content_sha256:
        raise untrusted(where, "was changed: its models are not the ones that were signed")


def digest_of(chunks: Iterable[bytes]) -> tuple[int, str]:
    """Return (bytes, hex SHA-256) of a content."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()
