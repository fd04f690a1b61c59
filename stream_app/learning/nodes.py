"""Walks the object nodes of a description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def objects_in(tree: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (path, node) of every object in a full tree, outer ones first.

    Nodes are the tree's own: whoever owns the tree may change their parameters while walking.
    """
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from objects_in(item, f"{path}[{index}]")
    elif isinstance(tree, dict):
        if "object" not in tree:
            yield from _within(tree, path)
            return
        yield path, tree
        for name, step in tree.get("steps", []):
            yield from objects_in(step, f'{path}["{name}"]')
        yield from objects_in(tree.get("args", []), path)
        for name, value in tree.get("params", {}).items():
            yield from objects_in(value, f"{path}.{name}")


def _within(tree: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    match tree:
        case {"dict": pairs} | {"ordered_dict": pairs} | {"defaultdict": [_, pairs]}:
            for key, item in pairs:
                yield from objects_in(item, f"{path}[{key!r}]")
        case {"partial": [_, args, keywords]}:
            yield from objects_in(args, path)
            for key, item in keywords:
                yield from objects_in(item, f"{path}[{key!r}]")
        case {"tuple": items} | {"set": items} | {"frozenset": items} | {"deque": [items, _]}:
            yield from objects_in(items, path)
