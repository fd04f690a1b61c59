"""Other people's JSON to events: each field is looked up where a declaration says it is."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from stream_app.codec.diagnosis import NotFinite, check_text
from stream_app.codec.intake_headers import origin_headers, refused_header
from stream_app.codec.moments import UNIT_WORDS, unix_ms
from stream_app.codec.partitioning import partition_of
from stream_app.codec.paths import MISSING, Path, pick
from stream_app.events import Refusal
from stream_app.records import Headers, NewRecord, Record, format_position

# Of a record that cannot be mapped so much is kept; a dead letter shows less.
KEPT_BYTES_MAX = 64 * 1024
KEY_BYTES_MAX = 1024
_SCALARS = (str, int, float, bool)


class RecordPart(enum.Enum):
    """What a record has beside its value: its key, and the time at which it was appended."""

    KEY = "the record's key"
    APPEND_TIME = "the record's append time"


Place = Path | RecordPart


class EventMapping(msgspec.Struct, frozen=True):
    """Where the fields of an event are in a record of some source.

    `id` and `key` have one place, or several that become one text; no `key` is the id. `where`
    has paths with the values that a record has to have there, one of them.
    """

    kind: str
    id: tuple[Place, ...]
    key: tuple[Place, ...]
    time: Place
    unit: str
    features: tuple[tuple[str, Path], ...] = ()
    label: Path | None = None
    meta: tuple[tuple[str, Path], ...] = ()
    where: tuple[tuple[Path, tuple[Any, ...]], ...] = ()

    def fits(self, document: Any) -> bool:
        """Tell whether a document is one of those that this mapping is for."""
        return all(is_one_of(pick(document, path), values) for path, values in self.where)

    def optional(self) -> dict[str, Path]:
        """Return the places where a record may have nothing, by what is looked for there."""
        features = {f"feature {name}": path for name, path in self.features}
        meta = {f"meta {name}": path for name, path in self.meta}
        label = {} if self.label is None or self.kind == "label" else {"label": self.label}
        return {**features, **label, **meta}

    def event(self, document: Any, record: Record) -> tuple[str, dict[str, Any]]:
        """Return (the key, the fields of the event); raises `Refusal`.

        Types and bounds of features and labels are left to the gate, which knows the settings.
        """
        name = self._name("id", self.id, document, record)
        fields: dict[str, Any] = {"kind": self.kind, "id": name}
        fields["ts_ms"] = self._time_ms(document, record)
        key = name
        if self.key:
            key = fields["key"] = self._name("key", self.key, document, record)
        if self.kind == "observation":
            fields["features"] = {
                feature: value
                for feature, path in self.features
                if (value := _scalar(f"features.{feature}", path, document)) is not MISSING
            }
        if self.label is not None:
            label = _scalar("label", self.label, document)
            if label is not MISSING and label is not None:
                fields["label"] = label
            elif self.kind == "label":
                raise Refusal("missing_field", "label", f"nothing at {self.label.text}")
        if self.meta:
            fields["meta"] = {
                key: value
                for key, path in self.meta
                if (value := _scalar(f"meta.{key}", path, document)) not in (MISSING, None)
            }
        return key, fields

    def _name(self, field: str, places: tuple[Place, ...], document: Any, record: Record) -> str:
        if len(places) == 1:
            return _text(field, places[0], document, record)
        # Joined so that other parts never make the same text.
        parts = [_text(field, place, document, record) for place in places]
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)

    def _time_ms(self, document: Any, record: Record) -> int:
        if isinstance(self.time, RecordPart):
            if record.timestamp_ms < 0:
                raise Refusal("missing_field", "ts_ms", "the record has no append time")
            return record.timestamp_ms
        value = _scalar("ts_ms", self.time, document)
        if value is MISSING or value is None:
            raise Refusal("missing_field", "ts_ms", f"nothing at {self.time.text}")
        try:
            return unix_ms(value, self.unit)
        except (ValueError, OverflowError):
            detail = f"{self.time.text}: {str(value)[:64]!r} is no time in {UNIT_WORDS[self.unit]}"
            raise Refusal("wrong_type", "ts_ms", detail) from None


class SourceMapper:
    """Makes copies of a source's records: events, or what becomes a dead letter.

    `partitions` is the pipeline's own number, which every copy's partition is below. A record for
    which no mapping is makes none.
    """

    def __init__(
        self, mappings: Sequence[EventMapping], partitions: int, value_bytes_max: int
    ) -> None:
        self._mappings = mappings
        self._partitions = partitions
        self._value_bytes_max = value_bytes_max

    def copies(self, record: Record) -> list[NewRecord]:
        """Return what is to be appended for one record of the source; raises nothing."""
        headers = origin_headers(record)
        try:
            document = read_document(record.value)
        except Refusal as refusal:
            return [self._refused(record, refusal, headers)]
        return [
            self._copy(mapping, document, record, headers)
            for mapping in self._mappings
            if mapping.fits(document)
        ]

    def _copy(
        self, mapping: EventMapping, document: Any, record: Record, headers: Headers
    ) -> NewRecord:
        try:
            key, fields = mapping.event(document, record)
            value = _encoded(fields)
            if len(value) > self._value_bytes_max:
                detail = f"its event has {len(value)} bytes; at most {self._value_bytes_max} fit"
                raise Refusal("too_large", None, detail)
        except Refusal as refusal:
            return self._refused(record, refusal, headers)
        # Said here: a topic that was given partitions since has some that nobody reads.
        name = key.encode()
        return NewRecord(name, value, headers, partition_of(name, self._partitions))

    def _refused(self, record: Record, refusal: Refusal, headers: Headers) -> NewRecord:
        """Return a record that the fold will refuse, with the bytes that it was about.

        All those of a source partition go to one partition, and so stay in order.
        """
        value, key = record.value, record.key
        detail = refusal.detail
        if len(value) > KEPT_BYTES_MAX:
            digest = sha256(value).hexdigest()
            detail += f"; the first {KEPT_BYTES_MAX} of {len(value)} bytes, SHA-256 {digest}"
            value = value[:KEPT_BYTES_MAX]
        if key is not None and len(key) > KEY_BYTES_MAX:
            detail += f"; without its key of {len(key)} bytes"
            key = None
        why = refused_header(Refusal(refusal.reason, refusal.field, detail))
        place = format_position(record.topic, record.partition, 0).encode()
        partition = partition_of(place, self._partitions)
        return NewRecord(key, value, (*headers, why), partition)


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except (ValueError, OverflowError) as error:  # an integer of thousands of digits
        raise Refusal("out_of_range", None, str(error)[:200]) from None


def read_document(value: bytes) -> Any:
    """Return the JSON document in a record of anybody's; raises `Refusal`.

    Numbers that JSON does not have are `NotFinite`, to be refused where one is picked.
    """
    if not value:
        raise Refusal("no_value", None, "an empty value, or none at all (a tombstone)")
    try:
        document = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        document = check_text(value)
    except RecursionError:
        raise Refusal("too_deep", None, "nested too deep to be read") from None
    else:
        # More quotes than its strings have: a key said twice, or only an escape.
        if 2 * _strings(document) != value.count(b'"'):
            check_text(value)
    if not isinstance(document, dict | list):
        raise Refusal("wrong_type", None, "expected an object or an array")
    return document


def _strings(document: Any) -> int:
    """Count the strings of a document, names of fields included."""
    count = 0
    stack = [document]
    while stack:
        found = stack.pop()
        kind = type(found)
        if kind is dict:
            count += len(found)
            stack += found.values()
        elif kind is list:
            stack += found
        elif kind is str:
            count += 1
    return count


def is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Tell whether a value of JSON equals one of those."""
    # In Python True is 1; in JSON it is not.
    return any(type(value) is type(one) and value == one for one in values)


def _scalar(field: str, path: Path, document: Any) -> Any:
    """Return the boolean, number, string or null at a path, or `MISSING`; raises `Refusal`."""
    value = pick(document, path)
    if type(value) in _SCALARS:
        if type(value) is float and not math.isfinite(value):
            raise Refusal("out_of_range", field, f"{path.text}: the number is too large")
        return value
    if value is None or value is MISSING:
        return value
    if isinstance(value, NotFinite):
        raise Refusal("not_finite", field, f"{path.text}: {value.text} is no JSON")
    found = "an object" if isinstance(value, dict) else "an array"
    raise Refusal(
        "wrong_type", field, f"{path.text}: expected a boolean, number or string, got {found}"
    )


def _text(field: str, place: Place, document: Any, record: Record) -> str:
    """Return a name: a string that is not empty, or an integer; raises `Refusal`."""
    if isinstance(place, RecordPart):
        return _key_text(field, record)
    value = _scalar(field, place, document)
    if value is MISSING or value is None:
        raise Refusal("missing_field", field, f"nothing at {place.text}")
    if type(value) is int and -(1 << 63) <= value < 1 << 64:
        return str(value)
    if type(value) is not str:
        found = "a boolean" if type(value) is bool else "another number"
        detail = f"{place.text}: expected a string or a 64-bit integer, got {found}"
        raise Refusal("wrong_type", field, detail)
    if not value:
        raise Refusal(f"bad_{field}", field, f"{place.text}: an empty text")
    return value


def _key_text(field: str, record: Record) -> str:
    if not record.key:
        raise Refusal("missing_field", field, "the record has no key")
    try:
        return record.key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("bad_utf8", field, f"the record's key: {str(error)[:200]}") from None
