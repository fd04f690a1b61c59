"""Looks at the keys that controls are signed with, and changes them by a record in the log."""

from __future__ import annotations

import msgspec

from stream_app.codec.signatures import public_key
from stream_app.core.authority import Keys
from stream_app.core.commit import Commit, Manifest
from stream_app.core.log import Log
from stream_app.hosts.controls import Signer, append_keys
from stream_app.hosts.manifests import commits, newest_keys, read_manifest
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.private_files import is_there


class KeyRow(msgspec.Struct, frozen=True):
    """A key by its name in the log; `file` is where its private one is, if that is here.

    `reached` are the partitions whose committed position knows what the log says of it.
    """

    name: str
    public_key: str
    state: str
    file: str | None
    reached: list[int]


def signer_here(log: Log, manifest: Manifest, state: StateDirectory) -> Signer:
    """Return a key that is in force now and whose file is here; raises `StateUntrusted`."""
    in_force = newest_keys(log, manifest).in_force
    return Signer(*state.signer(manifest.pipeline, in_force))


def signer_at(manifest: Manifest, commit: Commit, state: StateDirectory) -> Signer:
    """Return a key that is in force at a committed position; raises `StateUntrusted`.

    Newer keys may stand in the log behind it, where the fold does not know them yet.
    """
    return Signer(*state.signer(manifest.pipeline, _keys_at(manifest, commit).in_force))


def key_rows(log: Log, pipeline: str, state: StateDirectory) -> list[KeyRow]:
    """Return every key that the log has ever had for a pipeline, in the order of their names."""
    manifest = read_manifest(log, pipeline)
    keys = newest_keys(log, manifest)
    reached = [_keys_at(manifest, commit) for commit in commits(log, manifest)]
    rows = []
    for name, public in sorted((keys.in_force | keys.revoked).items(), key=_by_number):
        file = state.signing_key_file(pipeline, name)
        where = [p for p, known in enumerate(reached) if _said(known, name) == _said(keys, name)]
        held = str(file) if is_there(file) else None
        rows.append(KeyRow(name, public, _said(keys, name), held, where))
    return rows


def rotate(log: Log, pipeline: str, state: StateDirectory, by: str | None) -> str:
    """Put a new key in the place of the one that is here, and return its name.

    The new file is on disk before the record is in the log. Whoever dies in between runs it again,
    which takes the same file.
    """
    manifest = read_manifest(log, pipeline)
    keys, signer = newest_keys(log, manifest), signer_here(log, manifest, state)
    name = _next_name(keys)
    public = public_key(state.next_signing_key(pipeline, name)).hex()
    append_keys(log, manifest, signer, keys, {name: public, signer.name: None}, by)
    return name


def revoke(log: Log, pipeline: str, state: StateDirectory, name: str, by: str | None) -> None:
    """Revoke a key, signed with one that is here; raises `UsageError` for the last one."""
    manifest = read_manifest(log, pipeline)
    signer = signer_here(log, manifest, state)
    append_keys(log, manifest, signer, newest_keys(log, manifest), {name: None}, by)


def _next_name(keys: Keys) -> str:
    names = keys.in_force | keys.revoked
    taken = [int(name[1:]) for name in names if name[:1] == "k" and name[1:].isdecimal()]
    return f"k{max(taken, default=0) + 1}"


def _by_number(row: tuple[str, str]) -> tuple[int, str]:
    return len(row[0]), row[0]


def _said(keys: Keys, name: str) -> str:
    if name in keys.in_force:
        return "in force"
    return "revoked" if name in keys.revoked else "unknown"


def _keys_at(manifest: Manifest, commit: Commit | None) -> Keys:
    """Return the keys as of a committed position."""
    keys = None if commit is None else commit.keys
    return keys if isinstance(keys, Keys) else manifest.first_keys()
