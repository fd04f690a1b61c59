"""Which rights on the brokers a pipeline's users need, for each of their parts."""

from __future__ import annotations

from typing import Literal

import msgspec

from stream_app.core.topics import Topics

Role = Literal["producer", "worker", "reader", "operator"]
Resource = Literal["topic", "group", "transactional-id"]


class Acl(msgspec.Struct, frozen=True):
    """Operations that a role has to be allowed on a resource; Read and Write bring Describe."""

    role: Role
    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False

    def arguments(self, principal: str) -> list[str]:
        """Return the arguments of `kafka-acls --add` that give it to `User:<principal>`."""
        operations = [word for name in self.operations for word in ("--operation", name)]
        pattern = "prefixed" if self.prefixed else "literal"
        return [
            *("--allow-principal", f"User:{principal}", *operations),
            *(f"--{self.resource}", self.name, "--resource-pattern-type", pattern),
        ]


def needed_acls(pipeline: str, prefix: str = "") -> list[Acl]:
    """Return what the users of a pipeline need; `prefix` is the connection's.

    producer: `produce`. worker: `run`. reader: `consume`, `replay`, `status`; who only consumes
    needs Read on those topics alone. operator: `topics --create`, `apply`, and `produce` at a
    pipeline's first start.
    """
    topics = Topics(prefix + pipeline)
    fixed = topics.all(())[1:]  # what comes out, without shadows
    shadows = topics.shadow("")
    transactions = f"{topics.ledger}-"

    def outputs(role: Role, *operations: str) -> list[Acl]:
        literal = [Acl(role, "topic", name, operations) for name in fixed]
        return [*literal, Acl(role, "topic", shadows, operations, prefixed=True)]

    def internal(role: Role, *operations: str) -> list[Acl]:
        return [Acl(role, "topic", name, operations) for name in topics.internal]

    return [
        Acl("producer", "topic", topics.events, ("Write",)),
        Acl("producer", "topic", topics.ledger, ("Read",)),
        *outputs("producer", "Describe"),  # for whoever names a file: are all topics there?
        Acl("worker", "topic", topics.events, ("Read",)),
        *outputs("worker", "Write"),
        *internal("worker", "Read", "Write"),
        Acl("worker", "transactional-id", transactions, ("Write",), prefixed=True),
        Acl("worker", "group", f"{topics.pipeline}.live", ("Read",)),
        Acl("reader", "topic", topics.events, ("Read",)),
        *outputs("reader", "Read"),
        Acl("reader", "topic", topics.ledger, ("Read",)),
        Acl("operator", "topic", topics.events, ("Create", "DescribeConfigs", "Write")),
        *outputs("operator", "Create", "DescribeConfigs", "Describe"),
        *internal("operator", "Create", "DescribeConfigs", "Read", "Write"),
        Acl("operator", "transactional-id", transactions, ("Write",), prefixed=True),
    ]
