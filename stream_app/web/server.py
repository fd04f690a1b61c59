"""The HTTP server: `/livez`, `/readyz` and `/metrics`, read only, in threads of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from stream_app.web.address import Address
from stream_app.web.board import Board
from stream_app.web.connections import BoundedServer
from stream_app.web.health import Health, alive, ready
from stream_app.web.metrics import registry_of

READ_TIMEOUT_S = 5.0
_POLL_S = 0.1


class _Answer(NamedTuple):
    status: HTTPStatus
    kind: str
    body: bytes


class WebServer:
    """Answers about a board from the moment it is made until the `with` block ends.

    `registry` has what `/metrics` says, by default what the fold tells.
    Raises `AddressUnavailable` when it cannot listen. Its threads are daemons and only read.
    """

    def __init__(
        self, address: Address, board: Board[Any], registry: CollectorRegistry | None = None
    ) -> None:
        registry = registry or registry_of(board)

        def metrics(accept: str) -> _Answer:
            encode, kind = choose_encoder(accept)
            return _Answer(HTTPStatus.OK, kind, encode(registry))

        class Handler(_Handler):
            pages: ClassVar = {
                "/livez": lambda _accept: _health(alive(board)),
                "/readyz": lambda _accept: _health(ready(board)),
                "/metrics": metrics,
            }

        self._server = BoundedServer(address, Handler)
        self.address = Address(address.host, self._server.server_port)
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="web", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _health(health: Health) -> _Answer:
    status = HTTPStatus.OK if health.good else HTTPStatus.SERVICE_UNAVAILABLE
    return _Answer(status, "application/json", msgspec.json.encode(health.body) + b"\n")


class _Handler(BaseHTTPRequestHandler):
    """One connection and one request; bodies are not read, and the connection closes after it."""

    pages: ClassVar[dict[str, Callable[[str], _Answer]]]
    timeout = READ_TIMEOUT_S
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """Answer with a page."""
        page = self.pages.get(self.path.partition("?")[0])
        if page is None:
            paths = ", ".join(self.pages)
            self._send(_text(HTTPStatus.NOT_FOUND, f"404 Not Found; there are {paths}\n"))
        else:
            self._send(page(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _refuse(self) -> None:
        self._send(_text(HTTPStatus.METHOD_NOT_ALLOWED, "405 Method Not Allowed\n"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 - as above

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        """Name ourselves, and not which Python we run on."""
        return "stream-app"

    def log_message(self, *_said: object) -> None:
        """Log no requests: probes come every few seconds and say nothing new."""


def _text(status: HTTPStatus, text: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", text.encode())
