"""Pieces of work that several processes take from, each piece once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from stream_app.hosts.warm_forks import CONTEXT

# One page of them: a pipe that a system has shrunk takes no more before anybody reads.
_TICKETS_MAX = 1024
_TICKET_BYTES = 4


class PieceQueue:
    """Numbers of pieces in a fixed order; whoever is free takes the next ones.

    A pipe that is full of tickets before anybody takes one. There is no lock that a process could
    be killed with, and nobody who hands out pieces; what a killed process had taken is gone.
    Goes to another process when that is started, not later.
    """

    def __init__(self, pieces: Sequence[int]) -> None:
        self._pieces = tuple(pieces)
        self._each = -(-len(pieces) // _TICKETS_MAX) or 1
        self._tickets, into = CONTEXT.Pipe(duplex=False)
        tickets = range(-(-len(pieces) // self._each))
        os.write(into.fileno(), b"".join(t.to_bytes(_TICKET_BYTES, "big") for t in tickets))
        into.close()

    def __iter__(self) -> Iterator[int]:
        """Take pieces until none is left."""
        while ticket := os.read(self._tickets.fileno(), _TICKET_BYTES):
            first = int.from_bytes(ticket, "big") * self._each
            yield from self._pieces[first : first + self._each]

    def close(self) -> None:
        """Let go of it here."""
        self._tickets.close()
