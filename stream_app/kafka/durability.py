"""How many disks have a record before it counts as acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stream_app.core.upkeep import Deviation, Finding, TopicFound

MIN_INSYNC = "min.insync.replicas"
Remedy = Callable[[str, Deviation], str]


def durability_findings(topics: Iterable[TopicFound], remedy: Remedy) -> list[Finding]:
    """Return a problem for each topic that cannot be written, and notes for those at risk."""
    problems: list[Finding] = []
    single: list[TopicFound] = []
    thin: list[TopicFound] = []
    for topic in topics:
        copies = topic.replication or 0
        insync = int(topic.settings.get(MIN_INSYNC, "1"))
        if insync > copies:
            what = f"{MIN_INSYNC} is {insync} with {copies} replicas: nothing can be written"
            attempt = remedy(topic.name, Deviation(MIN_INSYNC, str(copies), str(insync)))
            problems.append(Finding("problem", "durability", topic.name, what, attempt))
        elif copies == 1:
            single.append(topic)
        elif insync == 1:
            thin.append(topic)
    return [*problems, *_single(single), *_thin(thin, remedy)]


def _single(topics: list[TopicFound]) -> list[Finding]:
    if not topics:
        return []
    what = "one replica: what is acknowledged is lost with that broker's disk"
    attempt = "kafka-reassign-partitions.sh, or topics made with --replication 3 on more brokers"
    return [Finding("note", "durability", _names(topics), what, attempt)]


def _thin(topics: list[TopicFound], remedy: Remedy) -> list[Finding]:
    if not topics:
        return []
    what = f"{MIN_INSYNC} is 1: what is acknowledged may be on one disk only"
    attempt = remedy(topics[0].name, Deviation(MIN_INSYNC, "2", "1"))
    more = "" if len(topics) == 1 else " (and so for each)"
    return [Finding("note", "durability", _names(topics), what, attempt + more)]


def _names(topics: list[TopicFound]) -> str:
    more = len(topics) - 1
    return topics[0].name + (f" and {more} more" if more else "")
