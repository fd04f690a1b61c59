"""Makes signed controls and appends them to every partition."""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import canonical, sign
from stream_app.core.commit import Manifest
from stream_app.core.log import LedgerPlace, Log
from stream_app.core.settings import Settings, canonical_json
from stream_app.core.topics import Topics
from stream_app.errors import LogBusy
from stream_app.events import Control
from stream_app.hosts.state_directory import KEY_NAME
from stream_app.records import NewRecord


def signed(control: Control, manifest: Manifest, private_key: bytes) -> Control:
    """Return `control` with its signature for this pipeline and log."""
    fields: dict[str, Any] = msgspec.to_builtins(control)
    message = canonical(fields, manifest.pipeline, manifest.log_id)
    return msgspec.structs.replace(control, sig=sign(private_key, KEY_NAME, message))


def to_every_partition(control: Control, manifest: Manifest) -> list[NewRecord]:
    """Return a control's records: the same bytes for every partition, without a key."""
    record = encode_event(control)
    return [
        msgspec.structs.replace(record, partition=partition)
        for partition in range(manifest.partitions)
    ]


def append_settings(
    log: Log, manifest: Manifest, private_key: bytes, old: Settings, new: Settings, by: str | None
) -> list[tuple[int, int]]:
    """Append a settings control, and note in the ledger that these are the newest settings.

    Returns the (partition, offset) from which on they are in force. Raises `LogBusy` when
    somebody else changed the settings at the same time.
    """
    control = Control(
        id=f"settings-{uuid.uuid4().hex[:12]}",
        ts_ms=time.time_ns() // 1_000_000,
        action="settings",
        by=by,
        settings=new.plain(),
    )
    topics = Topics(manifest.pipeline)
    expected = log.ledger_get(topics.ledger, 0, "settings")
    before = manifest.first_settings() if expected is None else None
    unchanged = expected == canonical_json(old) or before == old
    records = to_every_partition(signed(control, manifest, private_key), manifest)
    done = None
    if unchanged:
        done = log.append_with_ledger(
            topics.events,
            records,
            LedgerPlace(topics.ledger, 0, "settings"),
            canonical_json(new),
            expected=expected,
        )
    if done is None:
        raise LogBusy(
            f"somebody else changed the settings of {manifest.pipeline} a moment ago.",
            attempt="stream-app apply --dry-run to see what they are now, then apply again",
        )
    return done
