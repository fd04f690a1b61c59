"""Did you mean: the known name that a mistyped one is near to, and the error for a version so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from stream_app.errors import UsageError


def near_name(name: str, known: Iterable[str]) -> str | None:
    """Return the nearest of the known names, None when none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - most commands have no use for it

    spelt = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), list(spelt), 1)
    return spelt[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` to put behind a problem; nothing when no name is near."""
    near = near_name(name, known)
    return "" if near is None else f"; did you mean {near}?"


def _one_of(names: Collection[str]) -> str:
    return "".join(names) if len(names) == 1 else "one of those"


def no_version(
    version: str, where: str, known: Collection[str], *, attempt: str = ""
) -> UsageError:
    """Return the error for a version that is not known somewhere, wherever that is.

    `attempt` is what to type when it is none of those that are known.
    """
    others = sorted(name for name in known if name != version)
    only = f", only {', '.join(others)}" if others else ""
    return UsageError(
        f"{where} has no version {version!r}{only}{did_you_mean(version, others)}",
        attempt=attempt or near_name(version, others) or _one_of(others),
    )
