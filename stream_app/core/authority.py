"""Who may give orders to the fold: controls are signed for one pipeline in one log."""

from __future__ import annotations

import msgspec

from stream_app.codec.incoming import IncomingControl
from stream_app.codec.signatures import canonical, key_name_of, verify
from stream_app.core.commit import Manifest
from stream_app.errors import StreamAppError
from stream_app.events import Refusal
from stream_app.records import Record


def check_signature(event: IncomingControl, record: Record, manifest: Manifest) -> None:
    """Raise `Refusal` unless a control is signed with a key that the manifest names."""
    if event.sig is None:
        raise Refusal("unsigned", "sig", "a control needs an ed25519 signature")
    name = key_name_of(event.sig)
    public = manifest.public_keys.get(name or "")
    if public is None:
        raise Refusal("unknown_key", "sig", f"no public key {name!r} in the manifest")
    try:
        message = canonical(msgspec.json.decode(record.value), manifest.pipeline, manifest.log_id)
    except StreamAppError as error:
        raise Refusal("bad_signature", "sig", error.problem[:300]) from None
    if not verify(bytes.fromhex(public), message, event.sig):
        raise Refusal("bad_signature", "sig", "the signature is not of this control and log")
