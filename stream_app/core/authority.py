"""Who may give orders to the fold: controls are signed for one pipeline in one log.

The manifest names the first keys; `key` controls change them, each from the record after it on.
So the keys are part of the fold, and a replay judges old records by the keys of then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from stream_app.codec.incoming import IncomingControl
from stream_app.codec.signatures import canonical, key_name_of, verify
from stream_app.core.seats import SeatChange
from stream_app.errors import StreamAppError
from stream_app.events import Control, Refusal
from stream_app.records import Record

IN_FORCE_MAX = 16
NAMES_MAX = 1000
_NAME = re.compile(r"[a-z0-9-]{1,32}\Z")
_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")


def is_public_key(text: str) -> bool:
    """Tell whether a text is an ed25519 public key as manifests and controls write it."""
    return _PUBLIC_KEY.fullmatch(text) is not None


class Keys(msgspec.Struct, frozen=True):
    """Public keys by name: those that controls may be signed with, and those that were revoked.

    A revoked name or key never comes back, so a name in a record means one key for ever.
    """

    in_force: dict[str, str]
    revoked: dict[str, str]

    def changed(self, changes: Mapping[str, object] | None) -> Keys:
        """Return the keys after a control: a name with a public key adds it, with null revokes it.

        Raises `Refusal` for what cannot be; then nothing of it counts.
        """
        if not changes:
            raise _bad(None, "a key control names the keys to add, and null for those to revoke")
        in_force, revoked = dict(self.in_force), dict(self.revoked)
        for name, public in changes.items():
            if public is None:
                if name not in in_force:
                    raise _bad(name, "no such key is in force, so it cannot be revoked")
                revoked[name] = in_force.pop(name)
            else:
                self._require_new(name, public)
                in_force[name] = str(public)
        _require_usable(in_force, revoked)
        return Keys(in_force, revoked)

    def _require_new(self, name: str, public: object) -> None:
        if not _NAME.match(name):
            raise _bad(name, "a key's name is 1 to 32 lower-case letters, digits and -")
        if not isinstance(public, str) or not is_public_key(public):
            raise _bad(name, "an ed25519 public key is 64 lower-case hexadecimal digits")
        known = self.in_force | self.revoked
        if name in known:
            raise _bad(name, "that name has a key already, and keeps it for ever")
        if public in known.values():
            raise _bad(name, "that key has a name already; a revoked one never comes back")


def _require_usable(in_force: Mapping[str, str], revoked: Mapping[str, str]) -> None:
    if not in_force:
        raise _bad(None, "that would revoke the last key: nobody could sign a control any more")
    if len(set(in_force.values())) < len(in_force):
        raise _bad(None, "one key under two names")
    if len(in_force) > IN_FORCE_MAX or len(in_force) + len(revoked) > NAMES_MAX:
        raise _bad(None, f"at most {IN_FORCE_MAX} keys in force, and {NAMES_MAX} names ever")


def _bad(name: str | None, detail: str) -> Refusal:
    field = "public_keys" if name is None else f"public_keys.{name[:64]}"
    return Refusal("bad_keys", field, detail)


def seat_control(change: SeatChange) -> Control:
    """Return what is signed for a change of the seat; its id names the place that it is for."""
    return Control(
        change.control,
        change.ts_ms,
        "seat",
        version=change.champion,
        reason=change.reason or None,
        by=change.by or None,
    )


class Authority:
    """The keys of one partition's fold, as of its position."""

    def __init__(
        self, pipeline: str, log_id: str, first: Mapping[str, str], changed: Keys | None
    ) -> None:
        self._pipeline = pipeline
        self._log_id = log_id
        self._first = Keys(dict(first), {})
        self.changed = changed

    @property
    def keys(self) -> Keys:
        """The keys as of here: the manifest's until a control changed them (`changed`)."""
        return self._first if self.changed is None else self.changed

    def check(self, event: IncomingControl, record: Record, *, acted: bool) -> None:
        """Raise `Refusal` unless a control is signed with a key in force.

        One that has acted may come again: its copy is let pass although its key was revoked since.
        """
        if event.sig is None:
            raise Refusal("unsigned", "sig", "a control needs an ed25519 signature")
        keys = self.keys
        name = key_name_of(event.sig) or ""
        public = keys.in_force.get(name, keys.revoked.get(name))
        if public is None:
            raise Refusal(
                "unknown_key", "sig", f"no public key {name or None!r} in {self._where()}"
            )
        try:
            message = canonical(msgspec.json.decode(record.value), self._pipeline, self._log_id)
        except StreamAppError as error:
            raise Refusal("bad_signature", "sig", error.problem[:300]) from None
        if not verify(bytes.fromhex(public), message, event.sig):
            raise Refusal("bad_signature", "sig", "the signature is not of this control and log")
        if name in keys.revoked and not acted:
            raise Refusal("revoked_key", "sig", f"the key {name!r} was revoked by a control")

    def ordered(self, change: SeatChange, partition: int, *, here: bool) -> bool:
        """Tell whether a change of the seat at the committed position was signed for that place.

        With a key in force there, if the fold is `here`. Of a place that lies behind it the keys
        of then are not known any more, and one that was revoked since is taken: whoever folds from
        before that place, as a replay and a rebuild do, judges it by those that were in force.
        """
        control = seat_control(change)
        keys = self.keys
        usable = keys.in_force if here else keys.in_force | keys.revoked
        public = usable.get(key_name_of(change.sig) or "")
        if public is None or not change.control.endswith(f"-{partition}@{change.since}"):
            return False
        message = canonical(msgspec.to_builtins(control), self._pipeline, self._log_id)
        return verify(bytes.fromhex(public), message, change.sig)

    def _where(self) -> str:
        return "the manifest" if self.changed is None else "the manifest or a key control"

    def change(self, event: IncomingControl) -> None:
        """Put a `key` control's keys into force; raises `Refusal` for what cannot be."""
        self.changed = self.keys.changed(event.public_keys)

    def covered(self, digest: bytes) -> bytes:
        """Return a state digest that stands for these keys too; itself while they are the first."""
        if self.changed is None:
            return digest
        state = [sorted(self.changed.in_force.items()), sorted(self.changed.revoked.items())]
        # As long as what it takes the place of.
        whole = hashlib.blake2b(digest, digest_size=len(digest))
        whole.update(msgspec.msgpack.encode(state))
        return whole.digest()
