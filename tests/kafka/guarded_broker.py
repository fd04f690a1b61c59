"""A broker with TLS, logins and an authorizer, whose users may do nothing until it is granted."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from aiokafka.conn import create_conn
from aiokafka.protocol.admin import CreateAclsRequest

from scripts.broker.jars import ensure_jars, find_java
from stream_app.kafka.acls import Acl
from tests.kafka.broker import Broker
from tests.kafka.certificates import Authority

_LOGINS = "org.apache.kafka.common.security"
_RESOURCES = {"topic": 2, "group": 3, "transactional-id": 5}
_PATTERNS = {False: 3, True: 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_ALLOW = 3


def guarded_properties(
    place: Path, authority: Authority, plain: Mapping[str, str]
) -> dict[str, str]:
    """Return settings of a broker whose CLIENT port wants TLS and a login; writes its key."""
    key = place / "broker.pem"
    key.write_bytes(authority.issue("broker") + authority.certificate)
    users = " ".join(f'user_{name}="{password}"' for name, password in plain.items())
    scram = f"{_LOGINS}.scram.ScramLoginModule required;"
    client = "listener.name.client"
    return {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"{client}.plain.sasl.jaas.config": f"{_LOGINS}.plain.PlainLoginModule required {users};",
        f"{client}.scram-sha-256.sasl.jaas.config": scram,
        f"{client}.scram-sha-512.sasl.jaas.config": scram,
        f"{client}.ssl.keystore.type": "PEM",
        f"{client}.ssl.keystore.location": str(key),
        f"{client}.ssl.truststore.type": "PEM",
        f"{client}.ssl.truststore.location": str(authority.save(place / "ca.pem")),
        f"{client}.ssl.client.auth": "requested",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # who comes by the inner port
    }


def add_scram_user(broker: Broker, name: str, passwords: Mapping[str, str]) -> None:
    """Give a user a password for each mechanism, as an operator does: by `kafka-configs`."""
    entries = [f"{mechanism}=[password={word}]" for mechanism, word in passwords.items()]
    subprocess.run(
        [
            *(find_java(), "-XX:TieredStopAtLevel=1", "-cp", f"{ensure_jars()}/*"),
            *("kafka.admin.ConfigCommand", "--bootstrap-server", broker.internal, "--alter"),
            *("--add-config", ",".join(entries), "--entity-type", "users", "--entity-name", name),
        ],
        check=True,
        capture_output=True,
    )


def grant(broker: Broker, user: str, acls: Iterable[Acl]) -> None:
    """Allow a user these and nothing else."""
    asyncio.run(_grant(broker, user, list(acls)))


async def _grant(broker: Broker, user: str, acls: list[Acl]) -> None:
    host, _, port = broker.internal.partition(":")
    inner = await create_conn(host, int(port))
    for acl in acls:
        for operation in acl.operations:
            answer = await inner.send(
                CreateAclsRequest(
                    _RESOURCES[acl.resource],
                    acl.name,
                    _PATTERNS[acl.prefixed],
                    f"User:{user}",
                    "*",
                    _OPERATIONS[operation],
                    _ALLOW,
                )
            )
            assert answer.creation_responses[0][0] == 0, answer
    await inner.close()
