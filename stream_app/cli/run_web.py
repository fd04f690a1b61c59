"""Lets operators ask a run over HTTP, if `--http` was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream_app.cli.logs import fact
from stream_app.hosts.embedded import Owned, Progress, Stopped, Word
from stream_app.web.address import Address
from stream_app.web.board import Board

Say = Callable[[Word], None]


@contextmanager
def heard(say: Say, address: Address | None) -> Iterator[Say]:
    """Hand what workers say on to `say`, and meanwhile serve it at `address`.

    Raises `AddressUnavailable` before anybody says anything.
    """
    if address is None:
        yield say
        return
    from stream_app.web.server import WebServer

    board = Board()

    def both(word: Word) -> None:
        _note(board, word)
        say(word)

    with WebServer(address, board) as server:
        fact("http_listening", url=server.url)
        yield both


def _note(board: Board, word: Word) -> None:
    if isinstance(word, Progress):
        board.take(word)
    elif isinstance(word, Owned):
        board.own(word.pipeline, word.partitions)
    elif isinstance(word, Stopped):
        board.stop(word.partition, word.problem)
