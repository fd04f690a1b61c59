"""Paths into a JSON document: `a.b` for a field of a field, `a.0` for an array's element."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_DOT = re.compile(r"(?<!\\)\.")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
MISSING: Any = object()
"""What `pick` returns where a document has nothing."""


class Step(NamedTuple):
    """A field's name, and the element that it is in an array, if it can be one."""

    name: str
    element: int | None


class Path(NamedTuple):
    """A path as it was written, and its steps."""

    text: str
    steps: tuple[Step, ...]


def parse_path(text: str) -> Path:
    r"""Return the path that `text` says; `\.` is a dot in a name. Raises ValueError for no path."""
    names = [name.replace("\\.", ".") for name in _DOT.split(text)]
    if not all(names):
        raise ValueError(f"{text!r} has a part without a name")
    steps = (Step(name, int(name) if _INDEX.fullmatch(name) else None) for name in names)
    return Path(text, tuple(steps))


def pick(document: Any, path: Path) -> Any:
    """Return what lies at `path`, or `MISSING`."""
    found = document
    for name, element in path.steps:
        if type(found) is dict:
            found = found.get(name, MISSING)
        elif type(found) is list and element is not None and element < len(found):
            found = found[element]
        else:
            return MISSING
    return found
