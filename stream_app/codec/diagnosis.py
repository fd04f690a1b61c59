"""The careful second look at a value that is not plainly fine: which field is wrong, and how."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from stream_app.events import Refusal
from stream_app.near_names import did_you_mean

DEPTH_MAX = 16
DIGITS_MAX = 308
_KINDS = ("observation", "label", "control")
_SCALAR = "a boolean, number or string"
_FIELDS: dict[str, dict[str, tuple[tuple[type, ...], str, bool]]] = {
    "observation": {
        "features": ((dict,), "an object", True),
        "key": ((str,), "a string", False),
        "label": ((bool, int, float, str), _SCALAR, False),
        "meta": ((dict,), "an object", False),
    },
    "label": {
        "label": ((bool, int, float, str), _SCALAR, True),
        "key": ((str,), "a string", False),
    },
    "control": {
        "action": ((str,), "a string", True),
        "version": ((str,), "a string", False),
        "reason": ((str,), "a string", False),
        "by": ((str,), "a string", False),
        "settings": ((dict,), "an object", False),
        "public_keys": ((dict,), "an object", False),
        "sig": ((str,), "a string", False),
    },
}
# What may hold anything that JSON has.
_FREE_FORM = ("meta", "settings", "public_keys")
_ALWAYS: dict[str, tuple[tuple[type, ...], str, bool]] = {
    "id": ((str,), "a string", True),
    "ts_ms": ((int,), "an integer (Unix milliseconds)", True),
}


def check_depth(value: bytes) -> None:
    """Refuse nesting deeper than 16 before any parser recurses into it."""
    depth = 0
    inside = escaped = False
    for byte in value:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"{[":
            depth += 1
            if depth > DEPTH_MAX:
                raise Refusal("too_deep", None, f"nested deeper than {DEPTH_MAX}")
        elif byte in b"}]":
            depth -= 1


def check_text(value: bytes) -> Any:
    """Parse with an eye on what parsers let pass: broken UTF-8 and a key said twice."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("bad_utf8", None, str(error)[:200]) from None
    try:
        document = json.loads(
            text, object_pairs_hook=_no_key_twice, parse_constant=NotFinite, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:
        raise Refusal("malformed", None, f"no JSON: {str(error)[:200]}") from None
    _check_surrogates(text)
    return document


def check_document(value: bytes) -> None:
    """Look through what a parser has accepted, also where it keeps bytes as they are."""
    document = check_text(value)
    for name in _FREE_FORM:
        _check_numbers(name, document.get(name))


def diagnose(value: bytes, declared: Mapping[str, str] | None) -> tuple[dict[str, object], int]:
    """Name what is wrong with `value` by raising `Refusal`.

    Returns (the document without its undeclared features of odd types, how many those were) when
    they were all that was wrong with it.
    """
    document = check_text(value)
    if not isinstance(document, dict):
        raise Refusal("wrong_type", None, f"expected an object, got {_name(document)}")
    kind = document.get("kind")
    if kind not in _KINDS:
        detail = "write observation, label or control"
        if kind is None:
            raise Refusal("missing_field", "kind", detail)
        raise Refusal("unknown_kind", "kind", f"{str(kind)[:64]!r} is no kind; {detail}")
    fields = {**_ALWAYS, **_FIELDS[kind]}
    for name, item in document.items():
        if name != "kind":
            _check_field(name, item, kind, fields)
    for name, (_, words, required) in fields.items():
        if required and document.get(name) is None:
            raise Refusal("missing_field", name, f"a record of kind {kind} needs {words} there")
    if kind != "observation":
        return document, 0
    kept = _features(document["features"], declared)
    dropped = len(document["features"]) - len(kept)
    document["features"] = kept
    return document, dropped


def _check_field(
    name: str, item: object, kind: str, fields: Mapping[str, tuple[tuple[type, ...], str, bool]]
) -> None:
    if name not in fields:
        hint = did_you_mean(name, ["kind", *fields])
        raise Refusal(
            "unknown_field", name[:64], f"a record of kind {kind} has no such field{hint}"
        )
    types, words, _ = fields[name]
    if isinstance(item, NotFinite):
        raise Refusal("not_finite", name, f"expected {words}, got {item.text}")
    if item is not None and (type(item) not in types):
        raise Refusal("wrong_type", name, f"expected {words}, got {_name(item)}")
    _check_numbers(name, item if name in _FREE_FORM else None)
    if type(item) is int and not -(2**63) <= item < 2**63:
        raise Refusal("out_of_range", name, "expected a 64-bit integer")
    if type(item) is float and not math.isfinite(item):
        raise Refusal("out_of_range", name, "the number is too large")


def _check_numbers(name: str, item: object) -> None:
    """Refuse what JSON or a 64-bit float cannot hold, however deep it lies in free-form data."""
    stack = [item]
    while stack:
        inner = stack.pop()
        if isinstance(inner, NotFinite):
            raise Refusal("not_finite", name, f"{inner.text} is no JSON")
        if isinstance(inner, float) and not math.isfinite(inner):
            raise Refusal("out_of_range", name, "a number is too large")
        if isinstance(inner, dict):
            stack += inner.values()
        elif isinstance(inner, list):
            stack += inner


def _features(features: dict[str, object], declared: Mapping[str, str] | None) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, item in features.items():
        odd = isinstance(item, dict | list | NotFinite) or (
            isinstance(item, float) and not math.isfinite(item)
        )
        if not odd:
            kept[name] = item
            continue
        if declared is not None and name not in declared:
            continue
        field = f"features.{name[:64]}"
        if isinstance(item, NotFinite):
            raise Refusal("not_finite", field, f"{item.text} would ruin a model for ever")
        if isinstance(item, float):
            raise Refusal("out_of_range", field, "the number is too large")
        raise Refusal("wrong_type", field, f"expected {_SCALAR}, got {_name(item)}")
    return kept


def _integer(text: str) -> int | float:
    # Thousands of digits take Python's parser quadratic time; they are out of range anyway.
    return int(text) if len(text) <= DIGITS_MAX else math.inf


class NotFinite:
    """NaN, Infinity or -Infinity, which JSON does not have."""

    def __init__(self, text: str) -> None:
        self.text = text


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for name, item in pairs:
        if name in document:
            raise Refusal("duplicate_key", name[:64], "the same key twice in one object")
        document[name] = item
    return document


def _check_surrogates(text: str) -> None:
    """Refuse escapes of half a character, which no UTF-8 output could carry on."""
    if "\\ud" in text.lower():
        decoded = json.dumps(json.loads(text), ensure_ascii=False)
        try:
            decoded.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refusal("bad_utf8", None, str(error)[:200]) from None


def _name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    if isinstance(value, NotFinite):
        return value.text
    return names.get(type(value), "a number")
