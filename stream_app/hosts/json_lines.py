"""JSON lines to drafts: each line has the fields of an observation or a label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from stream_app.events import Refusal
from stream_app.hosts.drafts import Draft, EntryGate
from stream_app.records import NewRecord


def json_drafts(lines: Iterable[bytes], gate: EntryGate) -> Iterator[Draft]:
    """Yield a draft for each line that is not blank.

    A line without `kind` is an observation if it has `features`, else a label.
    """
    for line, text in enumerate(lines, 1):
        value = text.strip()
        if not value:
            continue
        written = value
        if b'"kind"' not in value:
            value = _with_kind(value)
        try:
            admitted = gate.check(value)
        except Refusal as refusal:
            # A dead letter carries the original; added to no JSON, a kind would make it another.
            sent = written if refusal.reason == "malformed" else value
            yield Draft(line, _refused(sent), refusal=refusal)
            continue
        ts_ms: int = admitted.event.ts_ms
        yield Draft(line, NewRecord(admitted.key.encode(), value), ts_ms)


def plain_drafts(lines: Iterable[bytes], partitions: int) -> Iterator[Draft]:
    """Yield a draft for each line that is not blank, as it is: what intake will look at.

    They have no keys, and go to the partitions in turn.
    """
    for line, text in enumerate(lines, 1):
        value = text.strip()
        if value:
            yield Draft(line, NewRecord(None, value, partition=line % partitions))


def _with_kind(value: bytes) -> bytes:
    """Say what a line is; the rest of it stays as it was written."""
    if not value.startswith(b"{") or value[1:].lstrip() == b"}":
        return value
    kind = b"observation" if b'"features"' in value else b"label"
    return b'{"kind":"' + kind + b'",' + value[1:]


def _refused(value: bytes) -> NewRecord:
    """Return the record that a careless producer would send: where its key says, if it has one."""
    try:
        fields = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NewRecord(None, value, partition=0)
    if isinstance(fields, dict):
        for name in ("key", "id"):
            key = fields.get(name)
            if isinstance(key, str) and key:
                return NewRecord(key.encode(), value)
    return NewRecord(None, value, partition=0)
