"""Bytes to events: strict, bounded, with features in canonical order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from stream_app.codec.diagnosis import check_depth, check_document, diagnose
from stream_app.codec.incoming import (
    NO_META,
    UNDECLARED,
    Admitted,
    IncomingControl,
    IncomingLabel,
    IncomingObservation,
)
from stream_app.codec.intake_headers import require_mapped
from stream_app.codec.limits import Limits
from stream_app.events import Feature, LabelValue, Refusal
from stream_app.records import Record

LabelGate = Callable[[LabelValue], LabelValue]
_decode_any: Final = msgspec.json.Decoder(
    IncomingObservation | IncomingLabel | IncomingControl
).decode
_asdict: Final = msgspec.structs.asdict
_no_features: Final[dict[str, Feature]] = {}
# The quotes of a plain event: the keys kind, id and ts_ms, and the values of two of them.
_QUOTES: Final = 10


class Gate:
    """Decodes one record's value and holds it against declaration and limits.

    `features` maps declared names to "float", "int", "bool" or "str", with "?" behind what may be
    absent; None declares nothing. `schema` is a number for this declaration. Raises `Refusal` for
    what becomes a dead letter, and nothing else whatever the bytes are.

    What is exactly as declared is decoded and checked by one compiled decoder; everything else
    gets the careful look, which names what is wrong. The two agree.
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
        self._as_declared = _declared_decoder(limits, self._features.declared)
        kinds = (self._features.declared or {}).values()
        self._optional = any(kind.endswith("?") for kind in kinds)
        # "features", every name, and the value of every string
        strings = [kind for kind in kinds if kind.startswith("str")]
        self._feature_quotes = 2 * (1 + len(self._features.declared or ()) + len(strings))
        self._value_bytes_max = limits.value_bytes_max
        self._meta_bytes_max = limits.meta_bytes_max
        self._name_chars_max = limits.name_chars_max
        self._ts_min_ms = limits.ts_min_ms
        self._ahead_ms = limits.ts_ahead_max_ms

    # The path of every event, in one piece because every call costs.
    def decode(self, record: Record) -> Admitted:  # noqa: PLR0912
        """Return the event in `record`; raises `Refusal`."""
        value = record.value
        if record.headers:
            require_mapped(record)
        if len(value) > self._value_bytes_max:
            raise Refusal(
                "too_large",
                None,
                f"{len(value)} bytes; at most {self._value_bytes_max} are allowed",
            )
        if self._as_declared is None:
            return self._careful(value, record)
        try:
            event = self._as_declared(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._careful(value, record)
        if type(event) is IncomingControl:
            return self._careful(value, record)
        # Every quote of a plain event is known. More of them: a key said twice, an escape, meta;
        # those get the careful look.
        quotes = _QUOTES
        key, label = event.key, event.label
        if key is not None:
            quotes += 4
        if label is not None:
            quotes += 4 if type(label) is str else 2
        features: Any = _no_features
        if type(event) is not IncomingLabel:
            features = _asdict(event.features)
            if self._optional:
                features = {k: v for k, v in features.items() if v is not UNSET}
                quotes += 2 + 2 * (len(features) + sum(type(v) is str for v in features.values()))
                if None in features.values():
                    features = {k: v for k, v in features.items() if v is not None}
            else:
                quotes += self._feature_quotes
        if value.count(b'"') != quotes:
            return self._careful(value, record)
        ts_ms = event.ts_ms
        if not self._ts_min_ms <= ts_ms <= record.timestamp_ms + self._ahead_ms:
            self._refuse_time(ts_ms, record.timestamp_ms)
        if key is None or not 0 < len(key) <= self._name_chars_max >= len(event.id) > 0:
            key = self._names(event, key)
        if label is not None:
            label = self._label_gate(label)
        return Admitted(event, key, features, label, self._schema)

    def _careful(self, value: bytes, record: Record) -> Admitted:
        """Decode what is not plainly as declared; raises `Refusal` for what is wrong with it."""
        event, dropped = self._parse(value)
        if not self._ts_min_ms <= event.ts_ms <= record.timestamp_ms + self._ahead_ms:
            self._refuse_time(event.ts_ms, record.timestamp_ms)
        if type(event) is IncomingControl:
            self._names(event, None)
            return Admitted(event, event.id, _no_features, None)
        key = self._names(event, event.key)
        label = None if event.label is None else self._label_gate(event.label)
        if type(event) is IncomingLabel:
            return Admitted(event, key, _no_features, label)
        if event.meta is not NO_META:
            self._check_meta(event)
        features, undeclared, odd = self._features.canonical(event.features)
        schema = UNDECLARED if undeclared else self._schema
        return Admitted(event, key, features, label, schema, dropped + odd)

    def _parse(self, value: bytes) -> tuple[Any, int]:
        # A parser must not be made to recurse; three brackets are what a plain event has.
        if value.count(b"{") + value.count(b"[") > 3:
            check_depth(value)
        try:
            event = _decode_any(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            repaired, dropped = diagnose(value, self._features.declared)
        else:
            if not _plain(value, event):
                check_document(value)
            return event, 0
        try:
            # Python's own writer, because an integer may have more digits than 64 bits hold.
            return _decode_any(json.dumps(repaired, allow_nan=False).encode()), dropped
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refusal("malformed", None, str(error)[:200]) from None

    def _names(self, event: Any, key: str | None) -> str:
        """Return the event's key, having checked it and the id."""
        chars_max = self._name_chars_max
        if not 0 < len(event.id) <= chars_max:
            raise Refusal("bad_id", "id", f"an id has 1 to {chars_max} characters")
        if key is None:
            return event.id  # type: ignore[no-any-return]
        if not 0 < len(key) <= chars_max:
            raise Refusal("bad_key", "key", f"a key has 1 to {chars_max} characters")
        return key

    def _check_meta(self, event: Any) -> None:
        meta = bytes(event.meta)
        if meta == b"null":
            event.meta = NO_META
            return
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
    """Tell quickly that no key was said twice and that nothing was kept as raw bytes.

    A document with more strings than its event must have said some key twice, or escaped a quote.
    """
    if type(event) is IncomingControl:
        return False
    quotes = _QUOTES
    if event.key is not None:
        quotes += 4
    if event.label is not None:
        quotes += 4 if type(event.label) is str else 2
    if type(event) is IncomingObservation:
        if event.meta is not NO_META:
            return False
        features = event.features
        quotes += 2 + 2 * (len(features) + sum(type(v) is str for v in features.values()))
    return value.count(b'"') == quotes


def _declared_decoder(
    limits: Limits, declared: Mapping[str, str] | None
) -> Callable[[bytes], Any] | None:
    """Return a decoder for events that have the declared features and no other, if there can be.

    Its observations' features are a struct whose fields are in canonical order.
    """
    if not declared or not all(_is_field(name) for name in declared):
        return None
    bound, chars = limits.magnitude_max, limits.string_chars_max
    kinds: dict[str, Any] = {
        "float": Annotated[float, msgspec.Meta(ge=-bound, le=bound)],
        "int": Annotated[int, msgspec.Meta(ge=-int(bound), le=int(bound))],
        "bool": bool,
        "str": Annotated[str, msgspec.Meta(max_length=chars)],
    }
    fields: list[Any] = []
    for name, kind in declared.items():
        plain = kinds[kind.removesuffix("?")]
        optional = kind.endswith("?")
        fields.append((name, plain | None | UnsetType, UNSET) if optional else (name, plain))
    features = msgspec.defstruct(
        "Features", fields, forbid_unknown_fields=True, kw_only=True, gc=False
    )
    observation = msgspec.defstruct(
        "DeclaredObservation",
        [
            ("id", str),
            ("ts_ms", int),
            ("features", features),
            ("key", str | None, None),
            ("label", bool | int | float | str | None, None),
            ("meta", msgspec.Raw, NO_META),
        ],
        forbid_unknown_fields=True,
        tag_field="kind",
        tag="observation",
        gc=False,
    )
    union: Any = observation | IncomingLabel | IncomingControl
    return msgspec.json.Decoder(union).decode


def _is_field(name: str) -> bool:
    """Tell whether a feature's name can be a field's, which plain names are."""
    return name.isidentifier() and not iskeyword(name) and not name.startswith("_")


class FeatureGate:
    """Holds features against their declaration and brings them into canonical order."""

    def __init__(self, limits: Limits, features: Mapping[str, str] | None) -> None:
        self._limits = limits
        self.declared = None if features is None else dict(sorted(features.items()))
        self._magnitude = limits.magnitude_max

    def canonical(self, features: dict[str, Any]) -> tuple[dict[str, Feature], bool, int]:
        """Return (features in sorted order, whether undeclared ones are among them, dropped)."""
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


def _words(kind: str) -> str:
    plain = {"float": "a number", "int": "an integer", "bool": "a boolean", "str": "a string"}
    return plain[kind.removesuffix("?")] + (" or null" if kind.endswith("?") else "")


def _name(value: object) -> str:
    return {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}.get(
        type(value), "something else"
    )
