"""Clients that are wrong, slow or hostile: they get a short answer or none, and hurt nobody."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from stream_app.errors import AddressUnavailable, UsageError
from stream_app.hosts.embedded import Progress
from stream_app.web.address import Address, parse_address
from stream_app.web.board import Board
from stream_app.web.connections import CONNECTIONS_MAX
from stream_app.web.server import WebServer
from tests.web.reports import ask, report


@pytest.fixture
def server() -> Iterator[WebServer]:
    board: Board[Progress] = Board()
    board.own("shop", [0])
    board.take(report())
    with WebServer(Address("127.0.0.1", 0), board) as opened:
        yield opened


def _connect(server: WebServer) -> socket.socket:
    return socket.create_connection((server.address.host, server.address.port), timeout=20)


def _say(server: WebServer, text: bytes) -> bytes:
    """Send bytes and return all that comes back until the connection ends."""
    with _connect(server) as connection:
        with contextlib.suppress(OSError):  # it hung up before it had heard all
            connection.sendall(text)
        answer = b""
        with contextlib.suppress(OSError):
            while more := connection.recv(65536):
                answer += more
        return answer


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez/../etc/passwd", "/%6civez"])
def test_another_path_is_not_found_and_names_those_there_are(server: WebServer, path: str) -> None:
    status, body = ask(server, path)
    assert status == 404
    assert "/livez, /readyz, /metrics" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_not_allowed(server: WebServer, method: str) -> None:
    assert ask(server, "/metrics", method)[0] == 405


def test_head_has_the_status_and_no_body(server: WebServer) -> None:
    assert ask(server, "/readyz", "HEAD") == (200, "")


def test_a_query_is_overlooked(server: WebServer) -> None:
    assert ask(server, "/livez?verbose=1")[0] == 200


def test_a_client_that_asks_for_openmetrics_gets_it(server: WebServer) -> None:
    _, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\n" + b"X: x\r\n" * 100_000 + b"\r\n", b"431"),
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"\x16\x03\x01\x02\x00 what TLS begins with\r\n\r\n", b"400"),
        (b"BREW /livez HTTP/1.1\r\n\r\n", b"501"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n", b"405"),
    ],
    ids=["huge header", "many headers", "long path", "TLS", "unheard-of method", "endless body"],
)
def test_nonsense_is_refused_in_a_line_and_the_next_one_is_served(
    server: WebServer, text: bytes, code: bytes
) -> None:
    answer = _say(server, text)
    # A client that is still sending may lose the answer; more than that line it never gets.
    assert code in answer.split(b"\n")[0] or not answer
    assert len(answer) < 1000
    assert b"Python" not in answer
    assert ask(server, "/livez")[0] == 200


def test_clients_that_send_nothing_block_nobody_however_many_they_are(server: WebServer) -> None:
    threads = threading.active_count()
    silent = [_connect(server) for _ in range(3 * CONNECTIONS_MAX)]
    try:
        began = time.monotonic()
        for connection in silent[::2]:
            with contextlib.suppress(OSError):  # those that were the oldest are gone
                connection.sendall(b"GET /livez HT")
        assert ask(server, "/livez")[0] == 200
        assert ask(server, "/metrics")[0] == 200
        assert time.monotonic() - began < 2
        assert threading.active_count() - threads <= CONNECTIONS_MAX + 5
    finally:
        for connection in silent:
            connection.close()


def test_a_silent_client_does_not_keep_the_server_from_ending() -> None:
    with WebServer(Address("127.0.0.1", 0), Board()) as server:
        connection = _connect(server)
        connection.sendall(b"GET /")
        assert ask(server, "/livez")[0] == 200
        began = time.monotonic()
    assert time.monotonic() - began < 1
    connection.close()


def test_an_address_in_use_is_named(server: WebServer) -> None:
    with pytest.raises(AddressUnavailable, match=rf"cannot listen on {server.address}: Address"):
        WebServer(server.address, Board())


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(AddressUnavailable, match=r"cannot listen on 192\.0\.2\.1:0"):
        WebServer(Address("192.0.2.1", 0), Board())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", Address("127.0.0.1", 9464)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("localhost:80", Address("localhost", 80)),
        ("[::1]:9464", Address("::1", 9464)),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "http", "::1:80", ":80", "host:", "70000", "-1", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        parse_address(text)
