"""What the present credentials may not do although their role has to, as far as a cluster tells."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient

from stream_app.core.upkeep import Finding, Subject
from stream_app.kafka.acls import Acl, acls, command
from stream_app.kafka.authorized import Operations, on_group, on_topics, on_transactions
from stream_app.kafka.connection import Connection


async def lacking(
    admin: AIOKafkaAdminClient,
    connection: Connection,
    subject: Subject,
    role: str,
    topics: Iterable[str],
) -> list[Finding]:
    """Return what these credentials may not do and somebody with this role has to."""
    findings = []
    names = [*(connection.prefix + name for name in topics), *subject.sources]
    allowed = await on_topics(admin, names)
    for acl in acls(connection, subject.pipeline, role, subject.sources):
        if acl.resource == "topic":
            places = {topic: found for topic, found in allowed.items() if _covers(acl, topic)}
        elif acl.resource == "group":
            places = {acl.name: await on_group(admin, f"{acl.name}doctor")}
        else:
            places = {acl.name: await on_transactions(admin, f"{acl.name}doctor")}
        findings += _refused(connection, acl, role, places)
    return findings


def _covers(acl: Acl, name: str) -> bool:
    return name.startswith(acl.name) if acl.prefixed else name == acl.name


def _refused(
    connection: Connection, acl: Acl, role: str, places: dict[str, Operations]
) -> list[Finding]:
    """Return one finding for an ACL, which names where it is missing."""
    lacks: set[str] = set()
    where = []
    for name, allowed in places.items():
        missing = set() if allowed is None else set(acl.operations) - allowed
        if missing:
            lacks |= missing
            where.append(name)
    if not where:
        return []
    what = f"a {role} has to {', '.join(sorted(lacks))} there, and these credentials may not"
    place = f"{acl.resource} {', '.join(where)}"
    return [Finding("problem", "acls", place, what, command(connection, acl, f"User:{role}"))]
