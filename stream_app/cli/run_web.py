"""Lets operators ask a run over HTTP, if `--http` was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stream_app.cli.logs import fact
from stream_app.hosts.embedded import Owned, Progress, Stopped
from stream_app.hosts.source_copying import SourceProgress
from stream_app.web.address import Address
from stream_app.web.board import Board

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

Say = Callable[[Any], None]


@contextmanager
def heard(
    say: Say,
    address: Address | None,
    registry_of: Callable[[Board[Any]], CollectorRegistry] | None = None,
) -> Iterator[Say]:
    """Hand what workers say on to `say`, and meanwhile serve it at `address`.

    `registry_of` makes what `/metrics` says, by default what a fold tells.
    Raises `AddressUnavailable` before anybody says anything.
    """
    if address is None:
        yield say
        return
    from stream_app.web.server import WebServer

    board: Board[Any] = Board()

    def both(word: Any) -> None:
        _note(board, word)
        say(word)

    with WebServer(address, board, None if registry_of is None else registry_of(board)) as server:
        fact("http_listening", url=server.url)
        yield both


def _note(board: Board[Any], word: Any) -> None:
    if isinstance(word, Progress | SourceProgress):
        board.take(word)
    elif isinstance(word, Owned):
        board.own(word.pipeline, word.partitions)
    elif isinstance(word, Stopped):
        board.stop(word.partition, word.problem)
