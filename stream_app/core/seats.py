"""Who is champion of a partition, and how that came: routing, no part of any version's fold.

A seat changes by a `promote` control, which is the last record of the old champion, or at the
committed position, by a person whose champion is stuck. What was committed is settled for good: a
replay reads it and decides nothing again, since what a partition ran then is no part of the log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from stream_app.errors import LogUntrusted

NEVER: Final = sys.maxsize
# What a commit record, which is written with every batch, says of each change.
REASON_CHARS_MAX: Final = 200
REASONS_KEPT: Final = 32


class Seat(msgspec.Struct, frozen=True):
    """Who is champion, and since which offset. Nobody is in a backfill."""

    champion: str
    since: int


class SeatChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """From `since` on `champion` has the seat, unless `refused` says why it was not given.

    `control` is the id of the promote control, or of the seat record that took effect at the
    committed position; `sig` is there for the latter alone, which no record of the log stands for.
    """

    since: int
    champion: str
    control: str
    reason: str = ""
    by: str = ""
    refused: str = ""
    sig: str = ""
    ts_ms: int = 0


class Order(msgspec.Struct, frozen=True):
    """A promote control that was in the log: `champion` was to have the seat from `since` on."""

    since: int
    champion: str
    control: str


def _order(change: SeatChange) -> Order:
    return Order(change.since, change.champion, change.control)


def unordered(pipeline: str, partition: int, what: SeatChange | Order) -> LogUntrusted:
    """Return the error for a change that nobody ordered, or an order that nothing came of."""
    return LogUntrusted(
        f"the seat of {pipeline}/{partition} as of the committed position and the orders in its "
        f"log do not agree about {what.champion} at {what.since}: no valid order is known for what "
        "is there.",
        attempt="restore the log from a backup: its ledger was changed",
    )


class Seats:
    """The seat of one partition as of a position, and all changes up to `decided` or made since.

    `orders` are the promote controls that the fold has met.
    """

    def __init__(
        self, first: Seat, changes: Sequence[SeatChange], decided: int, orders: Sequence[Order]
    ) -> None:
        self._first = first
        self.seat = first
        self.decided = decided
        self.orders = list(orders)
        self._changes = sorted(changes, key=lambda change: change.since)
        self._passed = 0

    @property
    def turn(self) -> int:
        """The offset that must not be folded before the seat has changed."""
        if self._passed == len(self._changes):
            return NEVER
        return self._changes[self._passed].since

    def reach(self, next_offset: int) -> list[SeatChange]:
        """Let everything take effect that is due where `next_offset` comes next; return it."""
        due = []
        while self.turn <= next_offset:
            change = self._changes[self._passed]
            self._passed += 1
            due.append(change)
            if not change.refused:
                self.seat = Seat(change.champion, change.since)
        return due

    def change(self, change: SeatChange) -> None:
        """Take a change that comes after all others."""
        self._changes.append(change)

    def ordered(self, change: SeatChange) -> bool:
        """Tell whether a record of the log has ordered a change."""
        return _order(change) in self.orders

    def tells(self, order: Order) -> bool:
        """Tell whether the history has what came of an order, where anything could come of it."""
        champion = self._first.champion
        for change in self._changes:
            if change.since >= order.since:
                break
            champion = champion if change.refused else change.champion
        return champion == order.champion or any(order == _order(row) for row in self._changes)

    def changes(self) -> list[SeatChange]:
        """Return every change that has come so far; older ones without their reasons.

        A signed one stays as it is, for all of it was signed.
        """
        told = max(0, self._passed - REASONS_KEPT)
        return [*map(_brief, self._changes[:told]), *self._changes[told : self._passed]]


def _brief(change: SeatChange) -> SeatChange:
    if change.sig or not (change.reason or change.by):
        return change
    return msgspec.structs.replace(change, reason="", by="")
