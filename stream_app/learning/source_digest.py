"""The identity of users' own code: SHA-256 over the source text of what it consists of."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

from stream_app.errors import DeclarationError

_PLAIN = (bool, int, float, str, bytes, type(None))


def source_digest(thing: Callable[..., Any], path: str) -> str:
    """Return the hex SHA-256 that stands for a function or class of a user.

    Covers its own source text (dedented) and, of its own module, what it names: functions,
    classes, base classes and plain constants, transitively. What other modules hold is theirs.
    Raises `DeclarationError` when there is no source to read.
    """
    digest = hashlib.sha256()
    for name, text in _parts(thing, path, seen=set()):
        digest.update(f"{name}\0{len(text)}\0{text}\0".encode())
    return digest.hexdigest()


def _parts(thing: Any, path: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a function or class and of what it names in its module."""
    if thing.__qualname__ in seen:
        return
    seen.add(thing.__qualname__)
    yield thing.__qualname__, _text(thing, path)
    namespace = vars(sys.modules[thing.__module__]) if thing.__module__ in sys.modules else {}
    names = {name for code in _codes(thing) for name in code.co_names}
    if isinstance(thing, type):
        names.update(base.__name__ for base in thing.__mro__[1:])
    for name in sorted(names & namespace.keys()):
        value = namespace[name]
        if isinstance(value, types.FunctionType | type):
            if value.__module__ == thing.__module__:
                yield from _parts(value, path, seen)
        elif _is_plain(value):
            yield name, repr(value)


def _text(thing: Any, path: str) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise DeclarationError(
            f"{path}: the source of {thing.__module__}.{thing.__qualname__} cannot be read, so "
            "nobody could tell when it changes.",
            attempt="define it in the pipeline's file or in a module beside it.",
        ) from error


def _codes(thing: Any) -> Iterator[types.CodeType]:
    """Yield the code objects of a function, or of every method of a class, nested ones too."""
    if isinstance(thing, type):
        for member in vars(thing).values():
            yield from _codes(_unwrapped(member))
    elif isinstance(thing, types.FunctionType):
        yield from _nested(thing.__code__)


def _unwrapped(member: object) -> object:
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return member if isinstance(member, types.FunctionType) else None


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _is_plain(value: object) -> bool:
    """Tell whether a constant's `repr` is the same in every process."""
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in _PLAIN
