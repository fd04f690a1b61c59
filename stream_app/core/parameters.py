"""Checks of what a declaration is given: each returns the value, or names its path and a way out.

All of them raise `DeclarationError`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stream_app.codec.limits import Limits
from stream_app.core.topics import is_name
from stream_app.errors import DeclarationError
from stream_app.learning.tasks import Task


def checked_name(path: str, name: object) -> str:
    """Return a name that topics and state may have."""
    if not isinstance(name, str) or not is_name(name):
        raise DeclarationError(
            f"{path}: {name!r} is no name",
            attempt="lower-case letters, digits and dashes, such as `flights` or `v1`",
        )
    return name


def checked_task(task: object) -> Task:
    """Return a task."""
    if isinstance(task, Task):
        return task
    raise DeclarationError(
        f"task: expected a task, got {task!r}",
        attempt="task=Binary(), Multiclass() or Regression()",
    )


def checked_limits(limits: object) -> Limits:
    """Return limits whose numbers are of their kinds."""
    if not isinstance(limits, Limits):
        raise DeclarationError(
            f"limits: expected Limits, got {limits!r}", attempt="limits=Limits(ids_max=10_000)"
        )
    try:
        return msgspec.convert(msgspec.to_builtins(limits), Limits)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise DeclarationError(
            f"limits.{where.rstrip('`')}: {what}",
            attempt=f"a number of that kind; the default is Limits().{where.rstrip('`')}",
        ) from None


def expect(path: str, value: Any, kind: Any, attempt: str) -> Any:
    """Return a value of this class, which no bool is."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise DeclarationError(f"{path}: expected {kind.__name__}, got {value!r}", attempt=attempt)


def one_of(path: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """Return one of the words that are possible."""
    if value not in allowed:
        raise DeclarationError(
            f"{path}: {value!r} is not possible", attempt=f"one of {', '.join(allowed)}"
        )
    return value


def positive(path: str, value: Any) -> int:
    """Return a count of one or more."""
    if type(value) is not int or value < 1:
        raise DeclarationError(f"{path}: {value!r} is no count", attempt="an integer of 1 or more")
    return value
