"""A declaration's `features`: a mapping of names to types, or a TypedDict."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, cast

from stream_app.errors import DeclarationError

FeatureKind = Literal["float", "int", "bool", "str", "float?", "int?", "bool?", "str?"]
_NAMES: dict[object, str] = {float: "float", int: "int", bool: "bool", str: "str"}


def feature_types(declared: object) -> dict[str, FeatureKind] | None:
    """Return names with "float", "int", "bool" or "str", "?" behind what may be absent.

    Raises `DeclarationError` for any other type.
    """
    if declared is None:
        return None
    if typing.is_typeddict(declared):
        hints = typing.get_type_hints(declared, include_extras=True)
        optional: frozenset[str] = getattr(declared, "__optional_keys__", frozenset())
        return {name: _key(name, hint, name in optional) for name, hint in sorted(hints.items())}
    if not isinstance(declared, Mapping) or not declared:
        raise DeclarationError(
            f"features: expected a mapping of names to types, got {declared!r}",
            attempt='features={"distance": float, "wind": float | None}, or no features at all',
        )
    return {str(name): _type(str(name), hint, False) for name, hint in sorted(declared.items())}


def _key(name: str, hint: Any, optional: bool) -> FeatureKind:
    # Where annotations are postponed, `__optional_keys__` knows nothing of these two.
    marker = typing.get_origin(hint)
    if marker in (typing.NotRequired, typing.Required):
        return _type(name, typing.get_args(hint)[0], marker is typing.NotRequired)
    return _type(name, hint, optional)


def _type(name: str, hint: Any, optional: bool) -> FeatureKind:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional = optional or len(members) < len(typing.get_args(hint))
        hint = members[0] if len(members) == 1 else hint
    if hint not in _NAMES:
        raise DeclarationError(
            f"features.{name}: {hint!r} is no type of a feature",
            attempt="float, int, bool or str, with `| None` for what may be absent",
        )
    return cast("FeatureKind", _NAMES[hint] + ("?" if optional else ""))
