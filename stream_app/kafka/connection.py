"""One URL names a cluster: `kafka://host:port[,host:port]`; what is secret comes from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stream_app.errors import UsageError

SCHEME = "kafka://"
PORT = 9092


class Connection(msgspec.Struct, frozen=True):
    """How to reach a cluster; `options` are keyword arguments of every client of it.

    `prefix` stands before the name of every topic, group and transactional id.
    """

    servers: tuple[str, ...]
    options: Mapping[str, Any] = {}
    prefix: str = ""

    @property
    def url(self) -> str:
        """How a person names the cluster."""
        return SCHEME + ",".join(self.servers)

    def client_options(self) -> dict[str, Any]:
        """Return what every client is made with."""
        return {"bootstrap_servers": list(self.servers), "client_id": "stream-app", **self.options}


def parse_servers(url: str) -> tuple[str, ...]:
    """Return the host:port pairs of a URL; raises `UsageError` for anything else in it."""
    rest = url.removeprefix(SCHEME).rstrip("/")
    if "@" in rest:
        raise UsageError(
            "a broker's URL has no place for credentials: it is shown in logs and errors",
            attempt="STREAM_APP_KAFKA_USERNAME and STREAM_APP_KAFKA_PASSWORD_FILE, and the URL "
            "without them",
        )
    servers = []
    for part in rest.split(","):
        host, colon, port = part.rpartition(":")
        if not colon:
            host, port = part, str(PORT)
        if not host or "/" in part or "?" in part or not (port.isdigit() and 0 < int(port) < 65536):
            raise UsageError(
                f"broker {url!r}: {part!r} is no host:port",
                attempt="kafka://host:9092, or kafka://host1:9092,host2:9092",
            )
        servers.append(f"{host}:{port}")
    return tuple(servers)


def connection(url: str) -> Connection:
    """Return how to reach the cluster that `url` names."""
    return Connection(parse_servers(url))
