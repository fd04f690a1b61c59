"""Bytes to events: strict, bounded, with features in canonical order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import msgspec

from stream_app.codec.diagnosis import check_depth, check_text, diagnose
from stream_app.codec.limits import Limits
from stream_app.events import Feature, LabelValue, Refusal
from stream_app.records import Record

LabelGate = Callable[[LabelValue], LabelValue]


class IncomingObservation(
    msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="observation"
):
    """An observation's wire form."""

    id: str
    ts_ms: int
    features: dict[str, bool | int | float | str | None]
    key: str | None = None
    label: bool | int | float | str | None = None
    meta: msgspec.Raw | None = None


class IncomingLabel(
    msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="label"
):
    """A label's wire form."""

    id: str
    ts_ms: int
    label: bool | int | float | str
    key: str | None = None


class IncomingControl(
    msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="control"
):
    """A control's wire form; `raw` fields that an action has no use for stay None."""

    id: str
    ts_ms: int
    action: str
    version: str | None = None
    reason: str | None = None
    by: str | None = None
    settings: dict[str, object] | None = None
    sig: str | None = None


Incoming = IncomingObservation | IncomingLabel | IncomingControl


class Admitted(msgspec.Struct, gc=False):
    """An event that passed the gate.

    `features` are in canonical (sorted) order. `schema` is the gate's number when they are among
    the declared ones, and -1 when there are others too; `dropped` tells how many undeclared ones
    were left out for their type or size.
    """

    event: Incoming
    key: str
    features: dict[str, Feature]
    label: LabelValue | None
    schema: int = -1
    dropped: int = 0


_decode = msgspec.json.Decoder(Incoming).decode
_no_features: dict[str, Feature] = {}


class Gate:
    """Decodes one record's value and holds it against declaration and limits.

    `features` maps declared names to "float", "int", "bool" or "str", with "?" behind what may be
    absent; None declares nothing. `schema` is a number for this declaration. Raises `Refusal` for
    what becomes a dead letter, and nothing else whatever the bytes are.
    """

    def __init__(
        self,
        limits: Limits,
        features: Mapping[str, str] | None,
        label_gate: LabelGate,
        schema: int = 0,
    ) -> None:
        self._label_gate = label_gate
        self._schema = schema
        self._features = FeatureGate(limits, features)
        self._value_bytes_max = limits.value_bytes_max
        self._meta_bytes_max = limits.meta_bytes_max
        self._name_chars_max = limits.name_chars_max
        self._ts_min_ms = limits.ts_min_ms
        self._ahead_ms = limits.ts_ahead_max_ms

    def decode(self, record: Record) -> Admitted:
        """Return the event in `record`; raises `Refusal`."""
        event: Any
        event, dropped = self._parse(record.value)
        ts_ms = event.ts_ms
        if not self._ts_min_ms <= ts_ms <= record.timestamp_ms + self._ahead_ms:
            self._refuse_time(ts_ms, record.timestamp_ms)
        if not 0 < len(event.id) <= self._name_chars_max:
            raise Refusal("bad_id", "id", f"an id has 1 to {self._name_chars_max} characters")
        if type(event) is IncomingControl:
            return Admitted(event, event.id, _no_features, None)
        key = event.key
        if key is None:
            key = event.id
        elif not 0 < len(key) <= self._name_chars_max:
            raise Refusal("bad_key", "key", f"a key has 1 to {self._name_chars_max} characters")
        label = event.label
        if label is not None:
            label = self._label_gate(label)
        if type(event) is IncomingLabel:
            return Admitted(event, key, _no_features, label)
        if event.meta is not None:
            self._check_meta(bytes(event.meta))
        canonical, undeclared, odd = self._features.canonical(event.features)
        schema = -1 if undeclared else self._schema
        return Admitted(event, key, canonical, label, schema, dropped + odd)

    def _parse(self, value: bytes) -> tuple[Incoming, int]:
        if len(value) > self._value_bytes_max:
            raise Refusal(
                "too_large",
                None,
                f"{len(value)} bytes; at most {self._value_bytes_max} are allowed",
            )
        # More brackets than a plain event has: look at the nesting before a parser recurses.
        if value.count(b"{") + value.count(b"[") > 3:
            check_depth(value)
        try:
            event = _decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._second_look(value)
        if not _plain(value, event):
            check_text(value)
        return event, 0

    def _second_look(self, value: bytes) -> tuple[Incoming, int]:
        """Find out what is wrong; undeclared features of odd types are no reason to refuse."""
        repaired, dropped = diagnose(value, self._features.declared)
        try:
            return _decode(msgspec.json.encode(repaired)), dropped
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refusal("malformed", None, str(error)[:200]) from None

    def _check_meta(self, meta: bytes) -> None:
        if not meta.startswith(b"{"):
            raise Refusal("wrong_type", "meta", "expected an object")
        if len(meta) > self._meta_bytes_max:
            raise Refusal(
                "too_large",
                "meta",
                f"{len(meta)} bytes; at most {self._meta_bytes_max} are allowed",
            )

    def _refuse_time(self, ts_ms: int, append_ms: int) -> None:
        if ts_ms < self._ts_min_ms:
            raise Refusal(
                "time_too_early",
                "ts_ms",
                f"{ts_ms} is before {self._ts_min_ms}: it looks like seconds; "
                "ts_ms is Unix time in milliseconds",
            )
        raise Refusal(
            "time_too_far_ahead",
            "ts_ms",
            f"{ts_ms} is {ts_ms - append_ms} ms ahead of the time of append; "
            f"at most {self._ahead_ms} are allowed",
        )


def _plain(value: bytes, event: Any) -> bool:
    """Tell quickly that no key was said twice and that every byte is ASCII.

    Without a backslash every quote delimits a string, so a document with more strings than its
    event must have said some key twice. What is not that plain gets the careful look.
    """
    if not value.isascii() or b"\\" in value or type(event) is IncomingControl:
        return False
    strings = 5  # the keys kind, id and ts_ms, and the values of two of them
    if event.key is not None:
        strings += 2
    label = event.label
    if label is not None:
        strings += 2 if type(label) is str else 1
    if type(event) is IncomingObservation:
        if event.meta is not None:
            return False
        features = event.features
        strings += 1 + len(features)
        for feature in features.values():
            if type(feature) is str:
                strings += 1
    return value.count(b'"') == 2 * strings


class FeatureGate:
    """Holds features against their declaration and brings them into canonical order."""

    def __init__(self, limits: Limits, features: Mapping[str, str] | None) -> None:
        self._limits = limits
        self.declared = None if features is None else dict(sorted(features.items()))
        self._magnitude = limits.magnitude_max
        required = self.declared and not any(k.endswith("?") for k in self.declared.values())
        # The quick way is for events that are exactly as declared: one look at names and types.
        self._quick = bool(required) and "int" not in (self.declared or {}).values()
        names = tuple(self.declared or ())
        kinds = tuple((self.declared or {}).values())
        self._names = names
        self._types = tuple({"float": float, "bool": bool, "str": str}.get(k) for k in kinds)
        numbers = [n for n, k in zip(names, kinds, strict=True) if k == "float"]
        self._all_float = len(numbers) == len(names)
        self._values: Callable[[Any], Any] = dict
        if self._quick:
            self._values = itemgetter(*names) if len(names) > 1 else _one(names[0])
        self._strings = [n for n, k in zip(names, kinds, strict=True) if k == "str"]
        self._numbers = numbers

    def canonical(self, features: dict[str, Any]) -> tuple[dict[str, Feature], bool, int]:
        """Return (features in sorted order, whether undeclared ones are among them, dropped)."""
        names = self._names
        if self._quick and len(features) == len(names):
            try:
                values = self._values(features)
            except KeyError:
                return self._careful(features)
            if tuple(map(type, values)) == self._types and self._small(values, features):
                if tuple(features) != names:
                    features = dict(zip(names, values, strict=True))
                return features, False, 0
        return self._careful(features)

    def _small(self, values: Any, features: dict[str, Any]) -> bool:
        bound = self._magnitude
        if self._all_float:
            return bool(max(values) <= bound and min(values) >= -bound)
        chars = self._limits.string_chars_max
        return all(-bound <= features[n] <= bound for n in self._numbers) and all(
            len(features[n]) <= chars for n in self._strings
        )

    def _careful(self, features: dict[str, Any]) -> tuple[dict[str, Feature], bool, int]:
        if len(features) > self._limits.features_max:
            raise Refusal(
                "too_many_features",
                "features",
                f"{len(features)} features; at most {self._limits.features_max} are allowed",
            )
        declared = self.declared
        kept: dict[str, Feature] = {}
        undeclared, dropped = False, 0
        for name in sorted(features):
            value = features[name]
            kind = declared.get(name) if declared is not None else "any"
            if kind is not None:
                accepted = self._check(name, value, kind)
                if accepted is not None:
                    kept[name] = accepted
                continue
            try:
                extra = self._check(name, value, "any")
            except Refusal:
                dropped += 1
                continue
            if extra is not None:
                kept[name] = extra
                undeclared = True
        for name, kind in (declared or {}).items():
            if name not in features and not kind.endswith("?"):
                raise Refusal("missing_feature", f"features.{name}", f"expected {_words(kind)}")
        return kept, undeclared, dropped

    def _check(self, name: str, value: Feature | None, kind: str) -> Feature | None:
        field = f"features.{name[:64]}"
        if len(name) > self._limits.name_chars_max:
            raise Refusal("too_large", field, "the name is too long")
        if value is None:
            if kind == "any" or kind.endswith("?"):
                return None
            raise Refusal("wrong_type", field, f"expected {_words(kind)}, got null")
        plain = kind.removesuffix("?")
        widened = plain == "float" and type(value) is int
        if plain != "any" and type(value) is not _TYPES[plain] and not widened:
            raise Refusal("wrong_type", field, f"expected {_words(kind)}, got {_name(value)}")
        if isinstance(value, str):
            if len(value) > self._limits.string_chars_max:
                raise Refusal(
                    "too_large",
                    field,
                    f"{len(value)} characters; at most {self._limits.string_chars_max} are allowed",
                )
            return value
        if not -self._magnitude <= value <= self._magnitude:
            raise Refusal(
                "out_of_range",
                field,
                f"{str(value)[:40]} is outside of ±{self._magnitude:g}; such a value would ruin "
                "a model for ever",
            )
        return float(value) if plain == "float" else value


_TYPES: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}


def _one(name: str) -> Callable[[Any], Any]:
    return lambda features: (features[name],)


def _words(kind: str) -> str:
    plain = {"float": "a number", "int": "an integer", "bool": "a boolean", "str": "a string"}
    return plain[kind.removesuffix("?")] + (" or null" if kind.endswith("?") else "")


def _name(value: object) -> str:
    return {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}.get(
        type(value), "something else"
    )
