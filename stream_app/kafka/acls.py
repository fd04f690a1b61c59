"""What each role may have to do on a cluster, as the ACLs that allow it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from stream_app.core.topics import Topics
from stream_app.kafka.connection import Connection

ROLES = ("producer", "worker", "reader")


class Acl(msgspec.Struct, frozen=True):
    """Operations on a topic, a group or transactional ids; `prefixed` for all names beginning so.

    `kind` is an option of kafka-acls.sh.
    """

    kind: str
    name: str
    operations: tuple[str, ...]
    prefixed: bool = True


def acls(connection: Connection, pipeline: str, role: str) -> list[Acl]:
    """Return what a role needs: a worker all, a reader to read, a producer one topic to write.

    A producer reads the manifest first, to check its events against the settings in force, and
    sees the other topics, to know that they are there. A reader's groups have a prefix of their
    own: whoever may join the worker's group can take its partitions away.
    """
    names = Topics(connection.prefix + pipeline)
    every = f"{connection.prefix}{pipeline}."
    if role == "producer":
        return [
            Acl("topic", every, ("Describe",)),
            Acl("topic", names.events, ("Write", "Describe"), prefixed=False),
            Acl("topic", names.ledger, ("Read", "Describe"), prefixed=False),
        ]
    if role == "reader":
        return [
            Acl("topic", every, ("Read", "Describe", "DescribeConfigs")),
            Acl("group", f"{every}readers.", ("Read", "Describe")),
        ]
    return [
        Acl("topic", every, ("Read", "Write", "Describe", "DescribeConfigs")),
        Acl("group", every, ("Read", "Describe")),
        Acl("transactional-id", every, ("Write", "Describe")),
    ]


def acl_commands(connection: Connection, pipeline: str, principals: Mapping[str, str]) -> list[str]:
    """Return the commands that allow each role's principal what it needs."""
    lines = []
    for role, principal in principals.items():
        lines += [command(connection, acl, principal) for acl in acls(connection, pipeline, role)]
    return lines


def command(connection: Connection, acl: Acl, principal: str) -> str:
    """Return the line for a shell that adds one ACL."""
    words = ["kafka-acls.sh", "--bootstrap-server", connection.servers[0], "--add"]
    words += ["--allow-principal", shlex.quote(principal), *_operations(acl.operations)]
    words += [f"--{acl.kind}", acl.name]
    if acl.prefixed:
        words += ["--resource-pattern-type", "prefixed"]
    return " ".join(words)


def _operations(operations: Sequence[str]) -> Iterator[str]:
    for operation in operations:
        yield from ("--operation", operation)
