"""Figures over time as one line of blocks."""

from __future__ import annotations

from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_NONE = "·"


def sparkline(values: Sequence[float | None], *, low: float, high: float) -> str:
    """Draw values between `low` and `high`, None as a dot."""
    width = (high - low) or 1.0
    last = len(_LEVELS) - 1
    return "".join(
        _NONE if v is None else _LEVELS[min(last, max(0, int((v - low) / width * len(_LEVELS))))]
        for v in values
    )
