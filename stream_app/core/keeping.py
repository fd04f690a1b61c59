"""Which checkpoints are kept beside the newest one: a policy that changes no output."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from stream_app.errors import DeclarationError

RECORDS: Final = 100_000
AT_MOST: Final = 100


class Keep:
    """How many checkpoints are kept on disk, and how far apart.

    One is kept once `records` records have been processed since the one before, or once `every`
    has gone by on the machine's clock, whichever comes first; give one of them or both. Beyond
    `at_most` they are thinned out, the older the more, so that the distance between two kept ones
    grows with their age. Those that were given a name are never counted and never thinned out.

    No part of the settings in the log: another policy needs no `apply`.
    """

    def __init__(
        self,
        *,
        records: int | None = None,
        every: Any = None,
        at_most: int = AT_MOST,
    ) -> None:
        self.records = _count("records", records, 1) if records is not None else None
        if every is not None and (not isinstance(every, timedelta) or every <= timedelta(0)):
            raise _wrong("every", every, "a time between two: every=timedelta(hours=6)")
        self.every: timedelta | None = every
        if records is None and every is None:
            self.records = RECORDS
        self.at_most = _count("at_most", at_most, 0)

    def due(self, kept: int, saved: int, waited_s: float) -> bool:
        """Tell whether the checkpoint at `saved` is to be kept: the one before is at `kept`.

        `waited_s` is how long ago that one was kept.
        """
        if not self.at_most or saved <= kept:
            return False
        if self.records is not None and saved - kept >= self.records:
            return True
        return self.every is not None and waited_s >= self.every.total_seconds()

    def surplus(self, offsets: Sequence[int], origin: int) -> list[int]:
        """Return which of the kept `offsets` have to go, so that at most `at_most` are left.

        Whichever would leave the smallest gap for its age goes first; the newest stays.
        """
        left, gone = sorted(offsets), []
        while len(left) > self.at_most:
            i = 0 if self.at_most == 0 else _least_missed(left, origin)
            gone.append(left.pop(i))
        return gone


def _least_missed(offsets: Sequence[int], origin: int) -> int:
    """Return the index of the offset whose removal leaves the smallest gap, measured by its age."""
    newest = offsets[-1]
    below = [origin, *offsets]

    def gap(i: int) -> float:
        return (offsets[i + 1] - below[i]) / (newest - below[i] or 1)

    return min(range(len(offsets) - 1), key=gap, default=0)


def _count(name: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise _wrong(name, value, f"{name} of {least} or more")
    return value


def _wrong(name: str, value: object, attempt: str) -> DeclarationError:
    return DeclarationError(f"checkpoints.{name}: {value!r} is not possible", attempt=attempt)
