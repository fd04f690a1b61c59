"""A first look at a cluster: what stands in the way is named at once.

The client itself tries again without end, or for as long as a request may take, and only logs why.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka import errors as kafka
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.errors import LogUnavailable, StreamAppError
from stream_app.kafka.client_errors import named
from stream_app.kafka.connection import Connection

# For one server: to connect, log in and answer.
PROBE_TIMEOUT_S = 5.0
BROKERS_MAX = 8
_OPTIONS = (
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)
# Somebody else's answer: the server named next may be well.
_ABSENT = (ConnectionRefusedError, TimeoutError)
_PROTOCOL = "STREAM_APP_KAFKA_SECURITY_PROTOCOL"
Address = tuple[str, int]


async def probe(connection: Connection) -> None:
    """Connect to a server of the URL, log in, and connect to the brokers that it names.

    Raises `LogUnavailable` for what is wrong: after one refusal, or when no server answers within
    `PROBE_TIMEOUT_S`. Nothing is tried twice.
    """
    absent: list[StreamAppError] = []
    for server in connection.servers:
        host, _, port = server.rpartition(":")
        address = host.strip("[]"), int(port)
        try:
            brokers = await _named_brokers(connection, address)
        except _ABSENT as error:
            absent.append(named(error, connection.url, _doing(connection, address)))
        else:
            await _reach(connection, [broker for broker in brokers if broker != address])
            return
    raise absent[-1]


async def _named_brokers(connection: Connection, address: Address) -> list[Address]:
    """Return where a server says that the cluster's brokers are."""
    client = await _connect(connection, address)
    try:
        answer = await asyncio.wait_for(client.send(MetadataRequest([])), PROBE_TIMEOUT_S)
    except kafka.KafkaError as error:
        raise await _named(error, connection, address, answered=True) from error
    finally:
        client.close()
    return [(row[1], row[2]) for row in answer.brokers]


async def _reach(connection: Connection, brokers: list[Address]) -> None:
    """Connect to brokers; it is enough if one is there, and all that are there must let us in."""
    tries = [_connect(connection, address) for address in brokers[:BROKERS_MAX]]
    found = await asyncio.gather(*tries, return_exceptions=True)
    for client in found:
        if isinstance(client, AIOKafkaConnection):
            client.close()
        elif not isinstance(client, _ABSENT):
            raise client
    if found and all(isinstance(client, _ABSENT) for client in found):
        names = ", ".join(f"{host}:{port}" for host, port in brokers)
        raise LogUnavailable(
            f"{connection.url} answers, and sends its clients on to {names}, where nobody does.",
            attempt="advertised.listeners of the brokers: addresses that clients can reach",
        )


async def _connect(connection: Connection, address: Address) -> AIOKafkaConnection:
    """Return a connection that is logged in; raises `_ABSENT` errors, or named ones."""
    host, port = address
    options = {name: connection.options[name] for name in _OPTIONS if name in connection.options}
    try:
        return await _within_time(create_conn(host, port, client_id="stream-app", **options))
    except _ABSENT:
        raise
    # The client checks a broker's side of a login by assertions and look-ups.
    except (kafka.KafkaError, OSError, EOFError, ValueError, LookupError, AssertionError) as error:
        raise await _named(error, connection, address) from error


def _doing(connection: Connection, address: Address) -> str:
    server = f"{address[0]}:{address[1]}"
    return "connecting" if connection.servers == (server,) else f"connecting to {server}"


async def _within_time(connecting: Any) -> Any:
    return await asyncio.wait_for(connecting, PROBE_TIMEOUT_S)


async def _named(
    error: Exception, connection: Connection, address: Address, *, answered: bool = False
) -> StreamAppError:
    """Name an error; where a broker just hung up, ask the port what it does speak."""
    doing = _doing(connection, address)
    attempt = None
    if not isinstance(error, kafka.BrokerResponseError | ssl.SSLCertVerificationError):
        tls, sasl = connection.tls, connection.sasl
        if answered and not sasl:
            what = "the broker hung up on a client that had not logged in"
            attempt = f"{_PROTOCOL}={'SASL_SSL' if tls else 'SASL_PLAINTEXT'}"
        elif not tls and await _speaks_tls(address):
            what = "this port of the broker speaks TLS, and the client did not"
            attempt = f"{_PROTOCOL}={'SASL_SSL' if sasl else 'SSL'}"
        elif tls and await _speaks_plainly(address):
            what = "this port of the broker does not speak TLS"
            attempt = (
                f"the port that does, or {_PROTOCOL}={'SASL_PLAINTEXT' if sasl else 'PLAINTEXT'}"
            )
    if attempt is None:
        return named(error, connection.url, doing)
    return LogUnavailable(f"{connection.url}: {doing}: {what}.", attempt=attempt)


async def _speaks_tls(address: Address) -> bool:
    """Tell whether a port answers to TLS; nothing is sent, so nobody has to be trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        opening = asyncio.open_connection(*address, ssl=context)
        _, writer = await _within_time(opening)
    except (OSError, EOFError):
        return False
    writer.close()
    return True


async def _speaks_plainly(address: Address) -> bool:
    """Tell whether a port answers a client that neither encrypts nor logs in."""
    try:
        client = await _within_time(create_conn(*address, client_id="stream-app"))
    except (kafka.KafkaError, OSError, EOFError):
        return False
    client.close()
    return True
