"""How a fold follows its seat: every change has an order, every order what came of it."""

from __future__ import annotations

from collections.abc import Callable

from stream_app.codec.incoming import IncomingControl
from stream_app.core.authority import Authority
from stream_app.core.batch import Start
from stream_app.core.seats import (
    REASON_CHARS_MAX,
    Order,
    Seat,
    SeatChange,
    Seats,
    unordered,
)
from stream_app.errors import LogUntrusted
from stream_app.records import Record


class SeatTurns:
    """The seat of one partition while its records are folded; nobody has it in a backfill.

    All of it raises `LogUntrusted` where the committed history and the log's orders disagree.
    """

    def __init__(self, pipeline: str, partition: int, start: Start, authority: Authority) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._authority = authority
        self._speaks = not start.backfill
        self._seats = Seats(start.seat, start.seats, start.committed, start.position.orders)
        next_offset = start.position.next_offset
        self.take(next_offset, next_offset)
        for order in self._seats.orders:
            self._require_told(order)

    @property
    def seat(self) -> Seat:
        """Who has the seat now."""
        return self._seats.seat

    @property
    def orders(self) -> list[Order]:
        """The promote controls that were met."""
        return self._seats.orders

    @property
    def next_turn(self) -> int:
        """The offset that must not be folded before `take`."""
        return self._seats.turn

    def changes(self) -> list[SeatChange]:
        """Return every change that has come so far, as a commit keeps it."""
        return self._seats.changes()

    def take(self, offset: int, next_offset: int) -> None:
        """Let the seat change where that is due before `offset` is folded.

        The fold stands at `next_offset`, which lies before it where the log has a hole.
        """
        for change in self._seats.reach(offset):
            if not self._is_ordered(change, next_offset):
                raise self._unordered(change)

    def promote(self, event: IncomingControl, record: Record, unfit: Callable[[str], str]) -> None:
        """Give the seat to a version, from the next record on; `unfit` says why it cannot be.

        Whether this record is refused depends on its bytes alone, so that every lineage makes the
        same of it; that a version is not here, or has failed, is told by the seat's history.
        """
        name = event.version or ""  # `require_form` has looked at it
        order = Order(record.offset + 1, name, event.id)
        self._seats.orders.append(order)
        if not self._speaks or record.offset < self._seats.decided:
            self._require_told(order)
            return
        if name == self._seats.seat.champion:
            return
        change = SeatChange(
            since=order.since,
            champion=name,
            control=event.id,
            reason=(event.reason or "")[:REASON_CHARS_MAX],
            by=(event.by or "")[:REASON_CHARS_MAX],
            refused=unfit(name),
            ts_ms=event.ts_ms,
        )
        self._seats.change(change)

    def _is_ordered(self, change: SeatChange, next_offset: int) -> bool:
        if change.sig:
            here = change.since >= next_offset
            return self._authority.ordered(change, self._partition, here=here)
        return self._seats.ordered(change)

    def _require_told(self, order: Order) -> None:
        if self._speaks and not self._seats.tells(order):
            raise self._unordered(order)

    def _unordered(self, what: SeatChange | Order) -> LogUntrusted:
        return unordered(self._pipeline, self._partition, what)
