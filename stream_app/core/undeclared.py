"""Counts the features that came with accepted events and that nobody declared, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NAMES_MAX = 20
NAME_CHARS_MAX = 64


class Undeclared:
    """How often each undeclared feature was seen, for people to look at.

    Undeclared features are kept for versions that select them, so a mistyped optional one would
    be missed by nobody. Only the first 20 names are counted. No part of any digest or output.
    """

    def __init__(self, declared: Mapping[str, str] | None) -> None:
        self._declared = declared or {}
        self.seen: dict[str, int] = {}

    def count(self, features: Iterable[str]) -> None:
        """Take an event's features in; only called where some of them are undeclared."""
        seen, declared = self.seen, self._declared
        for name in features:
            if name not in declared:
                short = name[:NAME_CHARS_MAX]
                if short in seen:
                    seen[short] += 1
                elif len(seen) < NAMES_MAX:
                    seen[short] = 1
