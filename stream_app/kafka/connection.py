"""One URL names a cluster: `kafka://host:port[,host:port]`; what is secret comes from elsewhere."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stream_app.errors import UsageError
from stream_app.kafka.secret import keep_logins_out_of_logs
from stream_app.kafka.security import Security, read_security

SCHEME = "kafka://"
PORT = 9092
_log = logging.getLogger("stream_app.kafka")


class Connection(msgspec.Struct, frozen=True):
    """How to reach a cluster; `options` are keyword arguments of every client of it.

    `prefix` stands before the name of every topic, group and transactional id.
    """

    servers: tuple[str, ...]
    options: Mapping[str, Any] = {}
    prefix: str = ""

    def __repr__(self) -> str:
        """Show what is no secret; options may hold a password, or lead to one."""
        return f"Connection({self.url!r}, {self.protocol}, prefix={self.prefix!r})"

    def __rich_repr__(self) -> Iterator[str]:  # type: ignore[override]
        """Show the same in a rich traceback's locals."""
        yield from (self.url, self.protocol, self.prefix)

    @property
    def protocol(self) -> str:
        """How clients speak to it: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return str(self.options.get("security_protocol", "PLAINTEXT"))

    @property
    def tls(self) -> bool:
        """Whether clients encrypt."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether clients log in."""
        return self.protocol.startswith("SASL")

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
    """Return how to reach the cluster that `url` names, with TLS and login as the settings say.

    They are in the environment, `STREAM_APP_KAFKA_*`. Raises `UsageError` for one that is wrong
    and `LogUnavailable` for a file that cannot be used.
    """
    servers = parse_servers(url)
    security = read_security(os.environ)
    keep_logins_out_of_logs()
    _say(security)
    return Connection(servers, security.client_options(), security.topic_prefix)


@functools.lru_cache(maxsize=16)  # once in a process, however often the log is opened
def _say(security: Security) -> None:
    for path in security.readable_by_others:
        fields = {"file": path, "try": f"chmod o-r {path}"}
        _log.warning("secret_readable_by_others", extra={"fields": fields})
    if security.sasl and not security.tls:
        fields = {"protocol": security.protocol, "try": "SASL_SSL"}
        _log.warning("login_not_encrypted", extra={"fields": fields})
    if security.tls and not security.check_hostname:
        _log.warning("host_names_not_checked", extra={"fields": {}})
    if security.ignored:
        fields = {"keys": ", ".join(security.ignored)}
        _log.debug("properties_without_effect", extra={"fields": fields})
