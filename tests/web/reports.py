"""Reports as a host makes them, and a server to ask about them."""

from __future__ import annotations

import http.client
import json
from typing import Any

from stream_app.hosts.embedded import Progress
from stream_app.web.figures import WorkFigures
from stream_app.web.server import WebServer


def report(partition: int = 0, *, next_offset: int = 10, committed: int = 10) -> Progress:
    """Return a partition's report; it learns again while `next_offset` is below `committed`."""
    return Progress(
        partition=partition,
        next_offset=next_offset,
        end=20,
        committed=committed,
        relearning=next_offset < committed,
        records=next_offset,
        commit=None,
        work=WorkFigures(),
        evaluations={},
    )


def ask(server: WebServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return status and body of an answer."""
    connection = http.client.HTTPConnection(server.address.host, server.address.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask_json(server: WebServer, path: str) -> tuple[int, Any]:
    """Return status and decoded body."""
    status, body = ask(server, path)
    return status, json.loads(body)
