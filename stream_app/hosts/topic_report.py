"""A pipeline's topics side by side with what they have to be, and the making of what is missing."""

from __future__ import annotations

from typing import Literal

import msgspec

from stream_app.core.log_rules import require_same_counts
from stream_app.core.pipeline import Pipeline
from stream_app.core.upkeep import (
    Deviation,
    Keeper,
    Subject,
    TopicFound,
    TopicSpec,
    deviations,
    leftovers,
)
from stream_app.hosts.keepers import keeper_of
from stream_app.hosts.subjects import open_if_there, subject_of


class TopicRow(msgspec.Struct, frozen=True):
    """One topic. `partitions` is None where it is missing, `replication` where it has no meaning.

    `settings` are those in force that matter.
    """

    topic: str
    state: Literal["ok", "made", "missing", "differs", "not needed", "made at the first start"]
    partitions: int | None
    replication: int | None
    settings: dict[str, str]
    differs: list[Deviation] = []


class TopicReport(msgspec.Struct, frozen=True):
    """All topics of a pipeline, and what to type next, each in a terminal of its own."""

    pipeline: str
    broker: str
    rows: list[TopicRow]
    remedies: list[str]
    by_themselves: bool
    next_commands: list[str]

    @property
    def differs(self) -> bool:
        """Whether something that is there is not as it has to be."""
        return any(row.differs for row in self.rows)


def topics_of(broker: str, spec: str, plan: Pipeline | None) -> TopicReport:
    """Return a pipeline's topics as they are; changes nothing."""
    return topic_report(keeper_of(broker), _subject(broker, spec, plan, None))


def topics_made(
    broker: str,
    spec: str,
    plan: Pipeline,
    *,
    partitions: int | None = None,
    replication: int | None = None,
) -> TopicReport:
    """Make what is missing and return all topics.

    Raises `UsageError`, having made nothing, when one that is there has another number of
    partitions: the new ones would not fit it.
    """
    keeper = keeper_of(broker)
    subject = _subject(broker, spec, plan, partitions)
    wanted = keeper.wanted(subject)
    present = {name: topic.partitions for name, topic in keeper.found(subject.pipeline).items()}
    missing = set(require_same_counts({spec.name: spec.partitions for spec in wanted}, present))
    made = keeper.create([spec for spec in wanted if spec.name in missing], replication)
    return topic_report(keeper, subject, tuple(made))


def _subject(broker: str, spec: str, plan: Pipeline | None, partitions: int | None) -> Subject:
    log = open_if_there(broker)
    try:
        return subject_of(log, spec, plan, partitions)
    finally:
        if log is not None:
            log.close()


def topic_report(keeper: Keeper, subject: Subject, made: tuple[str, ...] = ()) -> TopicReport:
    """Hold the topics that are there against those that have to be."""
    wanted, found = keeper.wanted(subject), keeper.found(subject.pipeline)
    rows = [_row(keeper, spec, found.get(spec.name), spec.name in made) for spec in wanted]
    for name in leftovers(subject, wanted, found):
        rows.append(
            TopicRow(name, "not needed", found[name].partitions, found[name].replication, {})
        )
    remedies = [
        f"{row.topic}: {each.name} is {each.present}, not {each.wanted}. "
        f"{keeper.remedy(row.topic, each)}"
        for row in rows
        for each in row.differs
    ]
    missing = any(row.state == "missing" for row in rows)
    return TopicReport(
        pipeline=subject.pipeline,
        broker=keeper.url,
        rows=rows,
        remedies=remedies,
        by_themselves=keeper.makes_topics,
        next_commands=_next(keeper, subject, missing=missing, differs=bool(remedies)),
    )


def _row(keeper: Keeper, spec: TopicSpec, found: TopicFound | None, made: bool) -> TopicRow:
    if found is None:
        state: Literal["missing", "made at the first start"] = "missing"
        if keeper.makes_topics:
            state = "made at the first start"
        return TopicRow(spec.name, state, None, None, {})
    differs = deviations(spec, found)
    names = (*spec.settings, *spec.minimums)
    settings = {name: found.settings[name] for name in names if name in found.settings}
    return TopicRow(
        spec.name,
        "differs" if differs else "made" if made else "ok",
        found.partitions,
        found.replication,
        settings,
        differs,
    )


def _next(keeper: Keeper, subject: Subject, *, missing: bool, differs: bool) -> list[str]:
    if differs:
        return [f"stream-app doctor {subject.spec} --broker {keeper.url}"]
    if missing:
        return [f"stream-app topics FILE --create --broker {keeper.url}"]
    run = f"stream-app run FILE --broker {keeper.url}"
    return [run, f"stream-app intake FILE --broker {keeper.url}"] if subject.sources else [run]
