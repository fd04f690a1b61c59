"""The headers of records that intake copied: where from, when, and why one could not be mapped.

The fold reads `SOURCE` and `REFUSED`, so the chain digest covers these two.
"""

from __future__ import annotations

import msgspec

from stream_app.events import Refusal
from stream_app.records import Headers, Record

SOURCE = "intake-source"
SOURCE_TIME = "intake-ts-ms"
REFUSED = "intake-refused"
READ_BY_THE_FOLD = frozenset({SOURCE, REFUSED})
# A dead letter repeats them, and anybody who may append events may write them.
_SOURCE_CHARS_MAX = 300
_DETAIL_CHARS_MAX = 600


class _Why(msgspec.Struct, frozen=True):
    reason: str
    field: str | None
    detail: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Why).decode


def origin_headers(record: Record) -> Headers:
    """Return the headers that tell where a copy of `record` comes from."""
    return (
        (SOURCE, record.position.encode()),
        (SOURCE_TIME, b"%d" % record.timestamp_ms),
    )


def refused_header(refusal: Refusal) -> tuple[str, bytes]:
    """Return the header that tells why a record could not be mapped."""
    field = None if refusal.field is None else refusal.field[:_SOURCE_CHARS_MAX]
    why = _Why(refusal.reason, field, refusal.detail[:_DETAIL_CHARS_MAX])
    return REFUSED, _encode(why)


def require_mapped(record: Record) -> None:
    """Raise the `Refusal` that a record's headers tell of, if they do."""
    value = _value_of(record.headers, REFUSED)
    if value is None:
        return
    try:
        why = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refusal("refused", None, f"its header {REFUSED} cannot be read") from None
    field = None if why.field is None else why.field[:_SOURCE_CHARS_MAX]
    raise Refusal(why.reason[:64], field, why.detail[:_DETAIL_CHARS_MAX])


def copied_from(record: Record) -> str | None:
    """Return the place in a source that a record was copied from; None if it was not copied."""
    value = _value_of(record.headers, SOURCE)
    return None if value is None else value.decode("utf-8", "replace")[:_SOURCE_CHARS_MAX]


def _value_of(headers: Headers, name: str) -> bytes | None:
    for found, value in headers:
        if found == name:
            return value
    return None
