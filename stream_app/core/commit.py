"""What the ledger holds: the manifest of a pipeline and the committed position of a partition."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from stream_app.core.authority import Keys, is_public_key
from stream_app.core.environment import Environment
from stream_app.core.seats import Seat, SeatChange
from stream_app.core.settings import Settings, read_settings
from stream_app.errors import LogUntrusted

# Raised whenever a release changes the fold or an output's bytes.
SEMANTICS = 1
LIVE = "live"
T = TypeVar("T")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must never silently change about a pipeline; written once, at its first start.

    `origins` is the first offset of every partition's fold, `public_keys` the keys by name that
    controls may be signed with, `events_id` the topic of events where names alone do not tell.
    """

    log_id: str
    pipeline: str
    partitions: int
    semantics: int
    initial_champion: str
    origins: list[int]
    public_keys: dict[str, str]
    settings: dict[str, Any]
    events_id: str = ""

    def first_settings(self) -> Settings:
        """Return the settings in force at the origin."""
        return read_settings(self.settings)

    def first_keys(self) -> Keys:
        """Return the keys in force at the origin."""
        return Keys(dict(self.public_keys), {})


class VersionCommit(msgspec.Struct, frozen=True):
    """A version the lineage hosts: its definition, its origin, and where its outputs begin."""

    definition: str
    origin: int
    published_from: int


class Commit(msgspec.Struct, frozen=True):
    """The committed position: everything before `next_offset` is learned and published.

    `chain` is the digest over all records before it. `settings` are those in force there and
    `settings_since` the offset after the control that set them; `keys` are those in force there, if
    a control has changed the manifest's. `seats` is how the seat came to be who it is. `left` names
    versions that the lineage no longer hosts, with the offset where they left, and
    `left_definitions` what they were; `waiting_for_file` are versions that an `import` control is
    still to begin, and `imports` has the offset of the first one that was obeyed for each version,
    whoever runs it. The rest is for people to look at.
    """

    next_offset: int
    chain: str
    semantics: int
    environment: Environment
    seat: Seat
    versions: dict[str, VersionCommit]
    left: dict[str, int]
    settings: dict[str, Any]
    settings_since: int
    watermark_ms: int
    waiting: int
    early_waiting: int
    counters: dict[str, int]
    learned: dict[str, int]
    failed: dict[str, str]
    undeclared: dict[str, int] = {}
    keys: Keys | UnsetType = UNSET
    seats: list[SeatChange] = []
    left_definitions: dict[str, str] = {}
    waiting_for_file: list[str] | UnsetType = UNSET
    imports: dict[str, int] | UnsetType = UNSET


def encode_commit(commit: Commit) -> bytes:
    """Return a commit record's bytes."""
    return msgspec.json.encode(commit)


def decode_commit(value: bytes, where: str) -> Commit:
    """Return the commit record in `value`; raises `LogUntrusted`."""
    what = f"the committed position of {where}"
    commit = _decode(value, _decode_commit, what)
    if not _DIGEST.fullmatch(commit.chain):
        raise _unreadable(what, "its chain digest is none")
    return commit


def require_built(commit: Commit, version: str, where: str) -> None:
    """Raise `LogUntrusted` unless a commit record is one of a backfill of that version."""
    if commit.versions.keys() != {version}:
        listed = ", ".join(sorted(commit.versions)) or "no version"
        raise LogUntrusted(
            f"the committed position of the backfill of {version} in {where} lists {listed}.",
            attempt="restore the log from a backup: its ledger was changed",
        )


def decode_manifest(value: bytes, where: str) -> Manifest:
    """Return the manifest in `value`; raises `LogUntrusted`."""
    manifest = _decode(value, _decode_manifest, f"the manifest of {where}")
    if manifest.semantics != SEMANTICS:
        raise LogUntrusted(
            f"the manifest of {where} asks for semantics {manifest.semantics}; this release runs "
            f"semantics {SEMANTICS}.",
            attempt="a release of stream-app that names these semantics in its CHANGELOG",
        )
    _require_consistent(manifest, where)
    return manifest


def _require_consistent(manifest: Manifest, where: str) -> None:
    """Raise `LogUntrusted` for what no manifest says: it is used far from where it was read."""
    what = f"the manifest of {where}"
    try:
        manifest.first_settings()
    except msgspec.ValidationError as error:
        raise _unreadable(what, str(error)) from None
    if manifest.partitions != len(manifest.origins) or min(manifest.origins, default=-1) < 0:
        origins = f"{manifest.partitions} partitions, but the origins {manifest.origins}"
        raise _unreadable(what, f"it has {origins}")
    for name, key in manifest.public_keys.items():
        if not is_public_key(key):
            raise _unreadable(what, f"the public key {name} is none")


def decode_settings(value: bytes, where: str) -> Settings:
    """Return the settings in `value`; raises `LogUntrusted`."""
    return _decode(value, _decode_settings, f"the settings of {where}")


# Made on import: msgspec learns a type at its first use, and threads that make it do so at once
# crash the process.
_decode_commit = msgspec.json.Decoder(Commit).decode
_decode_manifest = msgspec.json.Decoder(Manifest).decode
_decode_settings = msgspec.json.Decoder(Settings).decode
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _decode(value: bytes, decode: Callable[[bytes], T], what: str) -> T:
    try:
        return decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter: half a surrogate
        raise _unreadable(what, str(error)) from None


def _unreadable(what: str, why: str) -> LogUntrusted:
    """Return the error for a ledger value that is not as it was written."""
    return LogUntrusted(
        f"{what} cannot be read: {why}.",
        attempt="restore the log from a backup; a newer stream-app may also have written it",
    )
