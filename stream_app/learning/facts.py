"""What an object holds, flattened to comparable facts by their place in it."""

from __future__ import annotations

import collections
import random
import types
from typing import Any

import numpy as np
from river import compose

from stream_app.learning.order_free import SortedSet, original
from stream_app.learning.reductions import PIPELINE_CACHES


def facts_of(value: object) -> dict[str, str]:
    """Return place -> fact of everything reachable from `value`, without the states of RNGs.

    Equal objects have equal facts in one process. Meant for fresh or nearly fresh objects: the
    walk is proportional to all that `value` holds.
    """
    return _Walk().run(value)


class _Walk:
    """One walk with its own stack, so that depth costs no recursion."""

    def __init__(self) -> None:
        self._facts: dict[str, str] = {}
        # Holds the objects as well: ids are unique only among the living.
        self._seen: dict[int, tuple[str, object]] = {}
        self._stack: list[tuple[str, Any]] = []

    def run(self, value: object) -> dict[str, str]:
        self._stack.append(("", value))
        while self._stack:
            self._take(*self._stack.pop())
        return self._facts

    def _take(self, place: str, value: Any) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str | bytes):
            self._facts[place] = f"{type(value).__name__} {value!r}"
        elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | np.ufunc):
            self._facts[place] = f"name {original(value).__name__}"
        elif isinstance(value, random.Random | np.random.RandomState | np.random.Generator):
            self._facts[place] = "generator"
        elif isinstance(value, np.ndarray):
            self._facts[place] = f"array {value.dtype} {value.tolist()!r}"
        elif id(value) in self._seen:
            self._facts[place] = f"same as {type(value).__name__}"
        else:
            self._seen[id(value)] = (place, value)
            self._open(place, value)

    def _open(self, place: str, value: Any) -> None:
        kind = set if type(value) is SortedSet else original(type(value))
        self._facts[place] = kind.__qualname__
        if isinstance(value, dict):
            self._push_all(place, value.items())
        elif isinstance(value, list | tuple | collections.deque):
            self._push_all(place, enumerate(value))
        elif isinstance(value, set | frozenset):
            self._facts[place] += f" {sorted(map(repr, value))}"
        else:
            self._open_object(place, value)

    def _push_all(self, place: str, items: Any) -> None:
        self._stack.extend((f"{place}[{key!r}]", item) for key, item in items)

    def _open_object(self, place: str, value: Any) -> None:
        """Open an object the way pickle would, which is all of it that a restore brings back."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            # What cannot be pickled is refused with its own words later.
            return
        if isinstance(reduced, str):
            return
        parts: list[Any] = [*reduced, None, None, None]
        args, state, items, pairs = parts[1:5]
        self._push_all(place, enumerate(args))
        self._push_all(f"{place}.items", enumerate(items or ()))
        self._push_all(f"{place}.pairs", pairs or ())
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self._stack.extend(
                    (f"{place}.{name}", item)
                    for name, item in part.items()
                    if not (name in PIPELINE_CACHES and isinstance(value, compose.Pipeline))
                )
            elif part is not None:
                self._stack.append((f"{place}.state", part))
