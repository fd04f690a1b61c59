"""Names of classes and functions, and the way back, which resolves only River and what is known."""

from __future__ import annotations

import importlib
import math
import numbers
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from stream_app.errors import DeclarationError

_RIVER_MODULE = re.compile(r"river(\.[a-z][a-z0-9_]*)+")
# Where River keeps its compiled distance functions; the one private module a name may lead to.
_RIVER_COMPILED = re.compile(r"river\._river_rust\.[a-z_]+")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# Types that a parameter may name, as `SelectType(str)` does.
_TYPES: dict[str, type] = {
    f"{kind.__module__}:{kind.__qualname__}": kind
    for kind in (bool, int, float, str, bytes, tuple, list, dict, numbers.Number, numbers.Real)
}


def is_river(thing: Any) -> bool:
    """Tell whether a class or function is River's own."""
    return str(getattr(thing, "__module__", "")).startswith("river.")


def is_pure_library(thing: Any) -> bool:
    """Tell whether this is `math`'s or a NumPy ufunc: without source, but of a fixed meaning."""
    if isinstance(thing, np.ufunc):
        return getattr(np, thing.__name__, None) is thing
    in_math = isinstance(thing, types.BuiltinFunctionType) and thing.__module__ == "math"
    return in_math and getattr(math, thing.__name__, None) is thing


def name_of(thing: Any) -> str:
    """Return `module:qualname`; for River's own the shortest module path that exports it."""
    if isinstance(thing, np.ufunc):
        return f"numpy:{thing.__name__}"
    module, qualname = thing.__module__, thing.__qualname__
    if not is_river(thing):
        return f"{module}:{qualname}"
    parts = module.split(".")
    for length in range(2, len(parts) + 1):
        prefix = ".".join(parts[:length])
        if getattr(sys.modules.get(prefix), qualname, None) is thing:
            return f"{prefix}:{qualname}"
    return f"{module}:{qualname}"


def resolve(name: str, known: Mapping[str, object], path: str) -> Any:
    """Return what a name stands for: something known, of River, or plainly harmless.

    Raises `DeclarationError` for every other name; nothing but River's own modules is imported.
    """
    if name in known:
        return known[name]
    if name in _TYPES:
        return _TYPES[name]
    module, _, attribute = name.partition(":")
    found = None
    if module in ("math", "numpy"):
        found = getattr(math if module == "math" else np, attribute, None)
        if found is not None and is_pure_library(found):
            return found
    elif _RIVER_MODULE.fullmatch(module) and _IDENTIFIER.fullmatch(attribute):
        found = _river_attribute(module, attribute, type | types.FunctionType)
    elif _RIVER_COMPILED.fullmatch(module) and _IDENTIFIER.fullmatch(attribute):
        found = _river_attribute(module, attribute, types.BuiltinFunctionType)
    if found is None or not is_river(found):
        raise DeclarationError(
            f"{path}: {name!r} is neither River's nor defined in the pipeline's file.",
            attempt="define it beside the pipeline, under the same name as before.",
        )
    return found


def _river_attribute(module: str, attribute: str, kind: type | types.UnionType) -> object:
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        # The compiled modules are attributes of their parent and cannot be imported by name.
        found = getattr(sys.modules.get(module), attribute, None)
    return found if isinstance(found, kind) else None


def is_known_type(thing: type) -> bool:
    """Tell whether a plain type may be a parameter by its name alone."""
    return _TYPES.get(f"{thing.__module__}:{thing.__qualname__}") is thing
