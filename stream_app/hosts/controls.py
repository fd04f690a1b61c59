"""Makes signed controls and appends them to every partition."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import canonical, key_name_of, sign
from stream_app.core.authority import Keys
from stream_app.core.commit import Manifest
from stream_app.core.environment import Environment
from stream_app.core.log import LedgerPlace, Log
from stream_app.core.settings import Settings
from stream_app.core.topics import Topics
from stream_app.errors import LogBusy, UsageError
from stream_app.events import Control, Refusal
from stream_app.hosts.manifests import ledger_note, settings_in_force
from stream_app.hosts.state_directory import KEY_NAME
from stream_app.records import NewRecord

Places = list[tuple[int, int]]
"""The (partition, offset) of every record of a control."""


class Signer(msgspec.Struct, frozen=True):
    """A private key that is here, and the name that the log knows it by."""

    name: str
    private_key: bytes

    def signed(self, control: Control, manifest: Manifest) -> Control:
        """Return `control` with this key's signature for a pipeline in a log."""
        return signed(control, manifest, self.private_key, self.name)


def signed(
    control: Control, manifest: Manifest, private_key: bytes, name: str = KEY_NAME
) -> Control:
    """Return `control` with its signature for this pipeline and log, by the key of that name."""
    fields: dict[str, Any] = msgspec.to_builtins(control)
    message = canonical(fields, manifest.pipeline, manifest.log_id)
    return msgspec.structs.replace(control, sig=sign(private_key, name, message))


def to_every_partition(control: Control, manifest: Manifest) -> list[NewRecord]:
    """Return a control's records: the same bytes for every partition, without a key."""
    record = encode_event(control)
    return [
        msgspec.structs.replace(record, partition=partition)
        for partition in range(manifest.partitions)
    ]


def append_settings(
    log: Log,
    manifest: Manifest,
    signer: Callable[[], Signer],
    old: Settings,
    new: Settings,
    by: str | None,
) -> Places:
    """Append a settings control, and note in the ledger that these are the newest settings.

    `signer` returns a key that is in force whenever it is asked. Returns the control's (partition,
    offset) places. Raises `LogBusy` when somebody else changed the settings at the same time.
    """
    used = signer()
    control = new_control("settings", by, settings=new.plain())
    topics = Topics(manifest.pipeline)
    expected = log.ledger_get(topics.ledger, 0, "settings")
    before = settings_in_force(log, manifest)
    signed_once = used.signed(control, manifest)
    records = to_every_partition(signed_once, manifest)
    done = None
    if before == old:
        done = log.append_with_ledger(
            topics.events,
            records,
            LedgerPlace(topics.ledger, 0, "settings"),
            msgspec.json.encode(new.plain()),  # metrics in their order: the first one judges
            expected=expected,
        )
    if done is None:
        raise LogBusy(
            f"somebody else changed the settings of {manifest.pipeline} a moment ago.",
            attempt="stream-app apply --dry-run to see what they are now, then apply again",
        )

    def append(again: Control) -> Places:
        return log.append(topics.events, to_every_partition(again, manifest))

    return append_again(manifest, signer, signed_once, append) or done


def append_keys(
    log: Log,
    manifest: Manifest,
    signer: Signer,
    old: Keys,
    changes: dict[str, str | None],
    by: str | None,
) -> Places:
    """Append a key control, and note in the ledger which keys are the newest.

    Returns its (partition, offset) places. Raises `UsageError` for a change that the fold would
    refuse, `LogBusy` when somebody else changed the keys at the same time.
    """
    try:
        new = old.changed(changes)
    except Refusal as refusal:
        raise UsageError(
            f"the keys of {manifest.pipeline} cannot change so ({refusal.field}): {refusal.detail}",
            attempt=f"stream-app keys {manifest.pipeline} to see them",
        ) from None
    place = LedgerPlace(Topics(manifest.pipeline).ledger, 0, "keys")
    expected = log.ledger_get(place.ledger, place.partition, place.key)
    before = None if expected is None else msgspec.json.decode(expected, type=Keys)
    control = signer.signed(new_control("key", by, public_keys=changes), manifest)
    done = None
    if before == old or (before is None and not old.revoked):
        done = log.append_with_ledger(
            Topics(manifest.pipeline).events,
            to_every_partition(control, manifest),
            place,
            msgspec.json.encode(new),
            expected=expected,
        )
    if done is None:
        raise LogBusy(
            f"somebody else changed the keys of {manifest.pipeline} a moment ago.",
            attempt=f"stream-app keys {manifest.pipeline} to see what they are now",
        )
    return done


def append_promote(
    log: Log, manifest: Manifest, signer: Signer, version: str, reason: str, by: str | None
) -> Places:
    """Append a promote control to every partition as one step; returns its places.

    A note of it in the ledger lets two that are sent at once be told: the second is `LogBusy`.
    """
    control = signer.signed(new_control("promote", by, version=version, reason=reason), manifest)
    return _append_noted(log, manifest, control, "promotion")


def append_environment(
    log: Log,
    manifest: Manifest,
    signer: Signer,
    environment: Environment,
    reason: str | None,
    by: str | None,
) -> Places:
    """Append an order to go on in another environment, and note it in the ledger, as one step.

    Returns its places. Raises `LogBusy` when somebody else does the same at the same time.
    """
    plain: dict[str, str] = msgspec.to_builtins(environment)
    control = signer.signed(
        new_control("environment", by, environment=plain, reason=reason), manifest
    )
    return _append_noted(log, manifest, control, "environment")


def append_again(
    manifest: Manifest,
    signer: Callable[[], Signer],
    ordered: Control,
    append: Callable[[Control], Places],
) -> Places | None:
    """Append an order once more while its key is not the one of now; returns its last places.

    Revoked just before the append, the key signed a dead letter. The same order by the key of now
    acts once, whichever of the two is the first that may.
    """
    name, done = key_name_of(ordered.sig or ""), None
    while (now := signer()).name != name:
        name = now.name
        done = append(now.signed(ordered, manifest))
    return done


def _append_noted(log: Log, manifest: Manifest, control: Control, key: str) -> Places:
    """Append a control to every partition as one step with a ledger value that holds it."""
    before = log.ledger_get(Topics(manifest.pipeline).ledger, 0, key)
    note = msgspec.json.encode(control)
    return append_with_note(log, manifest, control, key, note, expected=before)


def append_with_note(
    log: Log,
    manifest: Manifest,
    control: Control,
    key: str,
    note: bytes,
    *,
    expected: bytes | None,
) -> Places:
    """Append a control to every partition and set a ledger value, as one step.

    Raises `LogBusy` where the value is not `expected`: somebody else came between.
    """
    topics = Topics(manifest.pipeline)
    done = log.append_with_ledger(
        topics.events,
        to_every_partition(control, manifest),
        LedgerPlace(topics.ledger, 0, key),
        note,
        expected=expected,
    )
    if done is None:
        raise LogBusy(
            f"somebody else gave {manifest.pipeline} an order of the same kind a moment ago.",
            attempt=f"stream-app status {manifest.pipeline} to see how it stands now",
        )
    return done


def newest_order(log: Log, pipeline: str) -> Control | None:
    """Return the newest promote control that was sent, read by its partitions or not."""
    return ledger_note(log, pipeline, "promotion", Control, "the newest promotion")


def new_control(action: str, by: str | None, **fields: Any) -> Control:
    """Return a control of this moment, with an id that no other one has."""
    control_id = f"{action}-{uuid.uuid4().hex[:12]}"
    return Control(control_id, time.time_ns() // 1_000_000, action, by=by, **fields)
