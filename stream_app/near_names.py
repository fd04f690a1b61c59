"""Did you mean: the known name that a mistyped one is near to."""

from __future__ import annotations

from collections.abc import Iterable


def near_name(name: str, known: Iterable[str]) -> str | None:
    """Return the nearest of the known names, None when none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - most commands have no use for it

    near = get_close_matches(name, list(known), 1)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` to put behind a problem; nothing when no name is near."""
    near = near_name(name, known)
    return "" if near is None else f"; did you mean {near}?"
