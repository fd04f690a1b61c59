"""Describes objects of River and of users as canonical trees of their constructors' parameters."""

from __future__ import annotations

import collections
import datetime
import functools
import inspect
import json
import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from river import compose, metrics, utils
from river.tree.hoeffding_tree import HoeffdingTree

from stream_app.errors import DeclarationError
from stream_app.learning.construction import DEPTH_MAX, Json, build
from stream_app.learning.names import (
    is_known_type,
    is_pure_library,
    is_river,
    name_of,
)
from stream_app.learning.order_free import original
from stream_app.learning.source_digest import source_digest

# Parameters that River keeps under another attribute than their own name.
_KEPT_AS: dict[tuple[type, str], str] = {
    (metrics.base.Metrics, "metrics"): "data",
    (metrics.ConfusionMatrix, "classes"): "_init_classes",
}

_STEPS: dict[type, str] = {compose.Pipeline: "steps", compose.TransformerUnion: "transformers"}

_LEAVES = (bool, int, float, str, bytes, datetime.timedelta)
_SEQUENCES = (list, tuple)
_MAPPINGS: dict[type, str] = {dict: "dict", collections.OrderedDict: "ordered_dict"}


def describe(value: object, *, path: str = "model") -> Json:
    """Return the tree of `value`'s constructor calls: JSON-able, the same in every process.

    An object is its class and those parameters that its constructor would not fill in by itself,
    so a parameter that River adds with a default changes nothing. Users' code is a name and a
    SHA-256 of its source. What cannot be told apart that way (a lambda, a closure, an open file)
    is a `DeclarationError` with the parameter's path.
    """
    known = users_own(value, path=path)
    return shortest(describe_in_full(value, path=path), known, path)


def users_own(value: object, *, path: str = "model") -> dict[str, object]:
    """Return users' classes and functions in `value` by name, as `build` wants them."""
    reader = _Reader()
    reader.value(value, path, 0)
    return reader.known


def describe_in_full(value: object, *, path: str = "model") -> Json:
    """Return `describe`'s tree with every parameter written out, defaults too."""
    return _Reader().value(value, path, 0)


def shortest(tree: Json, known: Mapping[str, object], path: str) -> Json:
    """Leave out of a full tree what the constructors fill in by themselves."""
    if isinstance(tree, list):
        return [shortest(item, known, f"{path}[{i}]") for i, item in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    if "steps" in tree:
        steps = [[n, shortest(step, known, f'{path}["{n}"]')] for n, step in tree["steps"]]
        return {**tree, "steps": steps}
    if "params" not in tree:
        return {tag: shortest(item, known, path) for tag, item in tree.items()}
    params = {n: shortest(v, known, f"{path}.{n}") for n, v in tree["params"].items()}
    kept = _needed(tree, params, known, path)
    return {**tree, "params": {name: params[name] for name in sorted(kept)}}


def _needed(
    tree: dict[str, Any], short: dict[str, Json], known: Mapping[str, object], path: str
) -> set[str]:
    """Return the parameters without which the constructor would make another object.

    Grows from the required ones, since a default may depend on another parameter.
    """
    full = tree["params"]
    kind = build({"name": tree["object"]}, known, path=path)
    kept = {n for n in full if _is_required(kind, n)}
    while True:
        made = build({**tree, "params": {n: short[n] for n in kept}}, known, path=path)
        again = _Reader().value(made, path, 0)
        filled: dict[str, Json] = again["params"] if isinstance(again, dict) else {}
        differing = {n for n in full if n not in kept and (filled.get(n, tree) != full[n])}
        if not differing:
            return kept
        kept |= differing


def _is_required(kind: Callable[..., Any], name: str) -> bool:
    if issubclass(kind, utils.rolling.BaseRolling):  # type: ignore[arg-type]
        return True
    parameter = inspect.signature(kind).parameters.get(name)
    return parameter is None or parameter.default is parameter.empty


def canonical_json(tree: Json) -> str:
    """Return the one JSON text of a tree: sorted keys, no spaces, ASCII."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)


class _Reader:
    """One walk over an object's parameters; collects users' own code on its way."""

    def __init__(self) -> None:
        self.known: dict[str, object] = {}

    def value(self, value: Any, path: str, depth: int) -> Json:
        if depth > DEPTH_MAX:
            raise DeclarationError(
                f"{path}: nested deeper than {DEPTH_MAX} levels, or within itself.",
                attempt="nest fewer objects.",
            )
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, _LEAVES):
            return _leaf(value)
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | np.ufunc):
            return self._named(original(value), path)
        if type(value) in _SEQUENCES:
            items = self._items(value, path, depth)
            return items if type(value) is list else {type(value).__name__: items}
        if type(value) in (set, frozenset):
            items = self._items(value, path, depth)
            return {type(value).__name__: sorted(items, key=canonical_json)}
        return self._compound(value, path, depth)

    def _compound(self, value: Any, path: str, depth: int) -> Json:
        if type(value) in _MAPPINGS:
            return {_MAPPINGS[type(value)]: self._pairs(value, path, depth)}
        match value:
            case functools.partial():
                function = self.value(value.func, path, depth + 1)
                keywords = self._pairs(value.keywords, path, depth)
                return {"partial": [function, self._items(value.args, path, depth), keywords]}
            case collections.defaultdict():
                factory = self.value(value.default_factory, path, depth + 1)
                return {"defaultdict": [factory, self._pairs(value, path, depth)]}
            case collections.deque():
                return {"deque": [self._items(value, path, depth), value.maxlen]}
        return self._object(value, path, depth)

    def _items(self, values: Any, path: str, depth: int) -> list[Any]:
        return [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(values)]

    def _pairs(self, values: Any, path: str, depth: int) -> list[Any]:
        return [
            [self.value(key, path, depth + 1), self.value(item, f"{path}[{key!r}]", depth + 1)]
            for key, item in values.items()
        ]

    def _named(self, thing: Any, path: str) -> dict[str, Json]:
        """Describe a class or function by its name, and users' own by its source as well."""
        if isinstance(thing, type) and is_known_type(thing):
            return {"name": name_of(thing)}
        if is_pure_library(thing) or (is_river(thing) and _is_reachable(thing)):
            return {"name": name_of(thing)}
        if not _is_reachable(thing):
            raise DeclarationError(
                f"{path}: {thing!r} has no name of its own: a lambda, a nested function or a "
                "method cannot be told apart from another or found again after a restart.",
                attempt="write it as a function or class at the top of the pipeline's file.",
            )
        digest = source_digest(thing, path)
        name = name_of(thing)
        self.known[name] = thing
        return {"name": name, "source": digest}

    def _object(self, value: Any, path: str, depth: int) -> Json:
        kind = original(type(value))
        if not _has_parameters(kind):
            raise DeclarationError(
                f"{path}: a {kind.__module__}.{kind.__qualname__} cannot be described by its "
                "constructor's parameters.",
                attempt="give numbers, strings, lists, River objects, or a class of your own "
                "that keeps each parameter as an attribute of the same name.",
            )
        named = self._named(kind, path)
        node: dict[str, Any] = {"object": named.pop("name"), **named}
        for container, attribute in _STEPS.items():
            if issubclass(kind, container):
                steps = getattr(value, attribute).items()
                node["steps"] = [
                    [name, self.value(step, f'{path}["{name}"]', depth + 1)] for name, step in steps
                ]
                return node
        params = dict(_parameters(value, kind, path))
        if (args := params.pop("*", None)) is not None:
            items = self._items(args, path, depth)
            is_set = isinstance(args, set | frozenset)
            node["args"] = sorted(items, key=canonical_json) if is_set else items
        node["params"] = {n: self.value(v, f"{path}.{n}", depth + 1) for n, v in params.items()}
        return node


def _leaf(value: Any) -> Json:
    """Describe a plain value; what JSON readers disagree about is written as text."""
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case datetime.timedelta():
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        case float() if not math.isfinite(value):
            return {"float": repr(value)}
        case int() if abs(value) >= 1 << 53:
            return {"int": str(value)}
    plain: Json = value
    return plain


def _is_reachable(thing: Any) -> bool:
    """Tell whether a name leads back to this very object, as unpickling needs it."""
    found: Any = sys.modules.get(thing.__module__) if isinstance(thing.__module__, str) else None
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def _has_parameters(kind: type) -> bool:
    """Tell whether a class is worth asking: one of River's or one written in Python."""
    return (
        kind.__module__ != "builtins"
        and (is_river(kind) or hasattr(kind, "__dict__"))
        and (
            kind.__module__.partition(".")[0] not in sys.stdlib_module_names
            or kind.__module__ == "__main__"
        )
    )


def _parameters(value: Any, kind: type, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a constructor's parameters as (name, kept value); variable positional ones as `*`."""
    if issubclass(kind, utils.rolling.BaseRolling):
        yield "obj", value.obj
        window = "window_size" if hasattr(type(value), "window_size") else "period"
        yield window, getattr(value, window)
        return
    if kind.__init__ is object.__init__:
        return
    for name, parameter in inspect.signature(kind).parameters.items():
        attribute = next(
            (
                kept
                for (owner, n), kept in _KEPT_AS.items()
                if n == name and issubclass(kind, owner)
            ),
            name,
        )
        if not hasattr(value, attribute):
            raise DeclarationError(
                f"{path}: {kind.__name__} keeps no attribute for its parameter {name!r}, so the "
                "object cannot be made again.",
                attempt=f"write self.{name} = {name} in its __init__.",
            )
        kept = getattr(value, attribute)
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield "*", kept
        elif parameter.kind is parameter.VAR_KEYWORD:
            yield from kept.items()
        else:
            yield name, _unlimited(kept, name, value)


def _unlimited(kept: Any, name: str, value: object) -> Any:
    """Undo River's replacement of "no limit" by this process's recursion limit."""
    if name == "max_depth" and isinstance(value, HoeffdingTree):
        return None if kept == sys.getrecursionlimit() - 20 else kept
    return kept
