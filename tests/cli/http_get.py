"""One question over HTTP to a running command."""

from __future__ import annotations

import http.client


def get(address: str, path: str) -> tuple[int, str]:
    """Return the status and the body of what is at `path`."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
