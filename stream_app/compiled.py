"""Whether the per-event path runs compiled (see `setup.py`) or as Python; both do the same."""

from __future__ import annotations

from typing import Final

# Python runs a module from its source; a compiler makes an extension of it.
COMPILED: Final = not __file__.endswith((".py", ".pyc"))


def build_name() -> str:
    """Return what people are told of this build."""
    return "compiled" if COMPILED else "pure Python"
