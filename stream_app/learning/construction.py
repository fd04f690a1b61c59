"""From a description back to the object: calls River's and known constructors, nothing else."""

from __future__ import annotations

import collections
import datetime
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from stream_app.errors import DeclarationError
from stream_app.learning.names import resolve
from stream_app.learning.order_free import SUBSTITUTES
from stream_app.learning.source_digest import source_digest

Json = None | bool | int | float | str | list[Any] | dict[str, Any]

# Deeper nesting than any real model's; keeps a description far from the recursion limit.
DEPTH_MAX: Final = 40

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

_LEAVES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int": int,
    "float": float,
    "bytes": bytes.fromhex,
    "timedelta": lambda parts: datetime.timedelta(*parts),
}
_COLLECTIONS: Final[Mapping[str, type]] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS: Final[Mapping[str, type]] = {"dict": dict, "ordered_dict": collections.OrderedDict}


class OtherCode(DeclarationError):
    """Users' own code that was described is not in this process, or is another one by now."""


def build(
    tree: Json,
    known: Mapping[str, object] = _NOTHING,
    *,
    path: str = "model",
    substitutes: Mapping[str, Any] = SUBSTITUTES,
) -> Any:
    """Return the fresh object that `tree` describes; `describe(build(tree)) == tree`.

    Resolves classes and functions of River and of `known` (name to object, see `users_own`), and
    raises `DeclarationError` naming the path for every other name, or when users' code differs
    from the code that was described.
    """
    try:
        return _Builder(known, substitutes).value(tree, path, 0)
    except (TypeError, ValueError, LookupError, AttributeError, StopIteration) as error:
        raise DeclarationError(
            f"{path}: not a description: {type(error).__name__}: {error}.",
            attempt="use what describe() returned, unchanged.",
        ) from error


class _Builder:
    """One run over a tree; holds what names may stand for."""

    def __init__(self, known: Mapping[str, object], substitutes: Mapping[str, Any]) -> None:
        self._known = known
        self._substitutes = substitutes

    def value(self, tree: Json, path: str, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise DeclarationError(
                f"{path}: nested deeper than {DEPTH_MAX} levels.", attempt="nest fewer objects."
            )
        if tree is None or isinstance(tree, bool | int | float | str):
            return tree
        if isinstance(tree, list):
            return self._items(tree, path, depth)
        if "object" in tree:
            return self._object(tree, path, depth)
        return self._tagged(tree, path, depth)

    def _items(self, trees: list[Any], path: str, depth: int) -> list[Any]:
        return [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(trees)]

    def _pairs(self, pairs: list[Any], path: str, depth: int) -> list[tuple[Any, Any]]:
        return [
            (self.value(key, path, depth + 1), self.value(item, f"{path}[{key!r}]", depth + 1))
            for key, item in pairs
        ]

    def _tagged(self, tree: dict[str, Any], path: str, depth: int) -> Any:
        if "name" in tree:
            return self._named(tree["name"], tree, path)
        tag, content = next(iter(tree.items()))
        if tag in _LEAVES:
            return _LEAVES[tag](content)
        if tag in _COLLECTIONS:
            return _COLLECTIONS[tag](self._items(content, path, depth))
        if tag in _MAPPINGS:
            return _MAPPINGS[tag](self._pairs(content, path, depth))
        return self._mixed(tree, path, depth)

    def _mixed(self, tree: dict[str, Any], path: str, depth: int) -> Any:
        match tree:
            case {"deque": [items, maxlen]}:
                return collections.deque(self._items(items, path, depth), maxlen)
            case {"defaultdict": [factory, pairs]}:
                default = self.value(factory, path, depth + 1)
                return collections.defaultdict(default, self._pairs(pairs, path, depth))
            case {"partial": [function, args, keywords]}:
                target = self.value(function, path, depth + 1)
                named = dict(self._pairs(keywords, path, depth))
                return functools.partial(target, *self._items(args, path, depth), **named)
        raise DeclarationError(
            f"{path}: {sorted(tree)} describes nothing that this release knows.",
            attempt="use the release that wrote it.",
        )

    def _named(self, name: str, tree: dict[str, Any], path: str) -> Any:
        """Return a class or function, having compared users' own code with what was described."""
        wanted = tree.get("source")
        try:
            found = self._substitutes.get(name) or resolve(name, self._known, path)
        except DeclarationError as error:
            if wanted is None:
                raise
            raise OtherCode(error.problem, attempt=error.attempt) from None
        if wanted is not None and source_digest(found, path) != wanted:
            raise OtherCode(
                f"{path}: the code of {name} is not the code that was described.",
                attempt="restore it, or give the changed code a new name and a new version.",
            )
        return found

    def _object(self, tree: dict[str, Any], path: str, depth: int) -> Any:
        name = tree["object"]
        kind = self._named(name, tree, path)
        if not isinstance(kind, type):
            raise DeclarationError(
                f"{path}: {name!r} is no class.", attempt="describe an object of a class."
            )
        if "steps" in tree:
            args = [
                (step, self.value(child, f'{path}["{step}"]', depth + 1))
                for step, child in tree["steps"]
            ]
            return self._call(kind, path, args, {})
        if name in ("river.utils:Rolling", "river.utils:TimeRolling"):
            return self._rolling(kind, tree["params"], path, depth)
        args = self._items(tree.get("args", []), path, depth)
        return self._call(kind, path, args, self._params(tree, path, depth))

    def _params(self, tree: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        params = tree.get("params", {})
        return {n: self.value(child, f"{path}.{n}", depth + 1) for n, child in params.items()}

    def _rolling(self, kind: type, params: dict[str, Any], path: str, depth: int) -> Any:
        """Build a rolling wrapper from its class: River no longer likes to be given instances."""
        inner = params["obj"]
        wrapped = self._named(inner["object"], inner, f"{path}.obj")
        window = {
            n: self.value(v, f"{path}.{n}", depth + 1) for n, v in params.items() if n != "obj"
        }
        return self._call(kind, path, [wrapped], window | self._params(inner, f"{path}.obj", depth))

    @staticmethod
    def _call(kind: type, path: str, args: list[Any], keywords: dict[str, Any]) -> Any:
        try:
            return kind(*args, **keywords)
        except Exception as error:
            raise DeclarationError(
                f"{path}: {kind.__name__} cannot be constructed again from its own parameters: "
                f"{type(error).__name__}: {error}.",
                attempt="let its constructor accept what it keeps as attributes.",
            ) from error
