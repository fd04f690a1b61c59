"""Points in time as other people write them, in Unix milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

TimeUnit = Literal["ms", "s", "us", "ns", "iso"]
TIME_UNITS: tuple[str, ...] = get_args(TimeUnit)
UNIT_WORDS = {
    "ms": "Unix milliseconds",
    "s": "Unix seconds",
    "us": "Unix microseconds",
    "ns": "Unix nanoseconds",
    "iso": "ISO 8601",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Milliseconds are so many of a unit, or a unit is so many of them.
_PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}


def iso_ms(text: str) -> int:
    """Return ISO 8601 in Unix ms, in UTC where it does not say otherwise; raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def unix_ms(value: Any, unit: str) -> int:
    """Return a time of a unit in Unix ms.

    Whole numbers are exact, below a millisecond cut off; fractions are rounded. Raises ValueError
    for what is no time of that unit, OverflowError for what no number of ours can hold.
    """
    if unit == "iso":
        if type(value) is not str:
            raise ValueError("no text")
        return iso_ms(value)
    if type(value) is int:
        return value * 1000 if unit == "s" else value // _PER_MS[unit]
    if type(value) is float:
        return round(value * 1000 if unit == "s" else value / _PER_MS[unit])
    raise ValueError("no number")
