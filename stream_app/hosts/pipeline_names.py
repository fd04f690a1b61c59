"""Tells a pipeline's name from the place of its declaration."""

from __future__ import annotations


def is_spec(text: str) -> bool:
    """Tell whether `text` is `file.py`, `file.py:attribute` or `module:attribute`, not a name."""
    return text.endswith(".py") or any(mark in text for mark in ":./")
