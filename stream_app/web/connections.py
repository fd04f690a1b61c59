"""A threading HTTP server that no client can use up: connections are bounded, the oldest gives way.

Who sends slowly, or nothing at all, holds one thread until it is the oldest of too many or its
time is up. Everyone else is answered meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stream_app.errors import AddressUnavailable
from stream_app.web.address import Address

CONNECTIONS_MAX = 32


class BoundedServer(ThreadingHTTPServer):
    """Serves at most `CONNECTIONS_MAX` connections at once; raises `AddressUnavailable`."""

    daemon_threads = True
    block_on_close = False  # a slow client does not keep the process from ending
    request_queue_size = 128

    def __init__(self, address: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((address.host, address.port), handler)
        except OSError as error:
            raise AddressUnavailable(
                f"cannot listen on {address}: {error.strerror or error}.",
                attempt="end what listens there, or name another address; port 0 is any free one",
            ) from error

    def server_bind(self) -> None:
        """Bind without asking a name server who we are, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; the oldest one goes if there are too many."""
        with self._lock:
            self._open[request] = None
            if len(self._open) > CONNECTIONS_MAX:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with contextlib.suppress(OSError):  # it is gone already
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what is our mistake; a client that went away is nobody's."""
        if not isinstance(sys.exception(), OSError):
            logging.getLogger("stream_app").exception("http_request_failed")
