"""Which rights on the brokers a pipeline's users need, for each of their parts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from stream_app.core.topics import Topics
from stream_app.kafka.connection import Connection

ROLES = ("producer", "worker", "reader")
Role = Literal["producer", "worker", "reader", "operator"]
Resource = Literal["topic", "group", "transactional-id"]


class Acl(msgspec.Struct, frozen=True):
    """Operations on a topic, a group or transactional ids; `prefixed` for all names beginning so.

    `resource` is an option of kafka-acls.sh.
    """

    role: Role
    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefixed: bool = True

    def arguments(self, principal: str) -> list[str]:
        """Return the arguments of `kafka-acls.sh --add` that give it to a principal."""
        pattern = "prefixed" if self.prefixed else "literal"
        return [
            *("--allow-principal", principal, *_operations(self.operations)),
            *(f"--{self.resource}", self.name, "--resource-pattern-type", pattern),
        ]


def needed_acls(pipeline: str, prefix: str = "", sources: Sequence[str] = ()) -> list[Acl]:
    """Return what the users of a pipeline need; `prefix` is the connection's.

    `sources` are topics of others, which a worker only reads: for `intake`.

    producer: `produce`. It reads the manifest first, to check its events against the settings in
    force, and sees the other topics, to know that they are there. worker: `run`. reader:
    `consume`, `replay`, `status`; its groups have a prefix of their own, since whoever may join
    the worker's group can take its partitions away. operator: `topics --create`, `apply`, and
    the first start of a pipeline by anything but `run`.
    """
    names = Topics(prefix + pipeline)
    every = f"{prefix}{pipeline}."
    return [
        Acl("producer", "topic", every, ("Describe",)),
        Acl("producer", "topic", names.events, ("Write", "Describe"), prefixed=False),
        Acl("producer", "topic", names.ledger, ("Read", "Describe"), prefixed=False),
        Acl("worker", "topic", every, ("Read", "Write", "Describe", "DescribeConfigs")),
        Acl("worker", "group", every, ("Read", "Describe")),
        Acl("worker", "transactional-id", every, ("Write", "Describe")),
        *(Acl("worker", "topic", name, ("Read", "Describe"), prefixed=False) for name in sources),
        Acl("reader", "topic", every, ("Read", "Describe", "DescribeConfigs")),
        Acl("reader", "group", f"{every}readers.", ("Read", "Describe")),
        Acl("operator", "topic", every, ("Create", "Read", "Write", "Describe", "DescribeConfigs")),
        Acl("operator", "transactional-id", every, ("Write", "Describe")),
    ]


def acls(
    connection: Connection, pipeline: str, role: str, sources: Sequence[str] = ()
) -> list[Acl]:
    """Return what one role needs."""
    needed = needed_acls(pipeline, connection.prefix, sources)
    return [acl for acl in needed if acl.role == role]


def acl_commands(
    connection: Connection,
    pipeline: str,
    principals: Mapping[str, str],
    sources: Sequence[str] = (),
) -> list[str]:
    """Return the commands that allow each role's principal what it needs."""
    lines = []
    for role, principal in principals.items():
        needed = acls(connection, pipeline, role, sources)
        lines += [command(connection, acl, principal) for acl in needed]
    return lines


def command(connection: Connection, acl: Acl, principal: str) -> str:
    """Return the line for a shell that adds one ACL."""
    words = ["kafka-acls.sh", "--bootstrap-server", connection.servers[0], "--add"]
    return " ".join([*words, *map(shlex.quote, acl.arguments(principal))])


def _operations(operations: Sequence[str]) -> Iterator[str]:
    for operation in operations:
        yield from ("--operation", operation)
