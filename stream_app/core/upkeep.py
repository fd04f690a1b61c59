"""What an operator has to know of a log: its topics as they are and should be, and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from stream_app.codec.limits import Limits
from stream_app.core.commit import Manifest
from stream_app.core.topics import Topics


class Subject(msgspec.Struct, frozen=True):
    """A pipeline to look after, as its declaration or its log tells.

    `spec` is how a person named it; `manifest` is None before its first start. `sources` are the
    topics of others that its intake copies from, `backfills` the versions to be built from history;
    `imports` tells whether a version begins from a file.
    """

    spec: str
    pipeline: str
    versions: tuple[str, ...]
    partitions: int
    limits: Limits
    manifest: Manifest | None
    sources: tuple[str, ...] = ()
    backfills: tuple[str, ...] = ()
    imports: bool = False

    @property
    def topics(self) -> Topics:
        """The names of its topics."""
        return Topics(self.pipeline)


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it has to be.

    `settings` must have these values and `minimums` at least these; `tuning` is only what a new
    topic is made with. All other settings are free.
    """

    name: str
    partitions: int
    settings: Mapping[str, str] = {}
    minimums: Mapping[str, int] = {}
    tuning: Mapping[str, str] = {}

    def at_creation(self) -> dict[str, str]:
        """Return every setting that a new topic is made with."""
        minimums = {name: str(value) for name, value in self.minimums.items()}
        return {**self.settings, **minimums, **self.tuning}


class TopicFound(msgspec.Struct, frozen=True):
    """A topic as it is; `settings` are those in force, as far as they can be seen."""

    name: str
    partitions: int
    replication: int | None = None
    settings: Mapping[str, str] = {}


class Deviation(msgspec.Struct, frozen=True):
    """Something about a topic that is not as it has to be; `present` is None where nothing is."""

    name: str
    wanted: str
    present: str | None


class Finding(msgspec.Struct, frozen=True):
    """What a look at a log brought up: which check, where, what, and what to type.

    A problem needs a person; a note is for whoever wants to know.
    """

    level: Literal["problem", "note"]
    check: str
    where: str
    what: str
    attempt: str


class Keeper(Protocol):
    """What an operator can see of a log, and do about it, beside its records.

    Leaves out the records: for them a `Log` is opened. Changes nothing but by `create`.
    """

    @property
    def makes_topics(self) -> bool:
        """Whether topics are made by themselves, at a pipeline's first start."""
        ...

    @property
    def url(self) -> str:
        """How a person names the log."""
        ...

    def wanted(self, subject: Subject) -> list[TopicSpec]:
        """Return every topic that the pipeline needs, as it has to be."""
        ...

    def found(self, pipeline: str) -> dict[str, TopicFound]:
        """Return every topic whose name begins with the pipeline's."""
        ...

    def create(self, specs: Sequence[TopicSpec], replication: int | None) -> list[str]:
        """Make what is missing, leave alone what is there; returns the names made."""
        ...

    def remedy(self, topic: str, deviation: Deviation) -> str:
        """Return what to type so that a deviation is gone."""
        ...

    def removal(self, topic: str) -> str:
        """Return what to type so that a topic that nobody needs is gone."""
        ...

    def findings(self, subject: Subject, role: str, clock_ms: Callable[[], int]) -> list[Finding]:
        """Return what is wrong with the log itself, for somebody with this role."""
        ...

    def acl_commands(
        self, pipeline: str, principals: Mapping[str, str], sources: Sequence[str] = ()
    ) -> list[str]:
        """Return the commands that allow each role's principal what it needs."""
        ...


def deviations(spec: TopicSpec, found: TopicFound) -> list[Deviation]:
    """Return what about a topic differs from what it has to be; unseen settings do not."""
    rows = []
    if found.partitions != spec.partitions:
        rows.append(Deviation("partitions", str(spec.partitions), str(found.partitions)))
    for name, wanted in spec.settings.items():
        present = found.settings.get(name)
        if present is not None and _parts(present) != _parts(wanted):
            rows.append(Deviation(name, wanted, present))
    for name, least in spec.minimums.items():
        present = found.settings.get(name)
        if present is not None and int(present) < least:
            rows.append(Deviation(name, str(least), present))
    return rows


def _parts(value: str) -> set[str]:
    """Return the members of a setting, which may be a list in any order."""
    return {part.strip() for part in value.split(",")}


def leftovers(subject: Subject, wanted: Iterable[TopicSpec], present: Iterable[str]) -> list[str]:
    """Return topics of the pipeline's that no declared version needs, such as old shadows."""
    known = {spec.name for spec in wanted}
    of_versions = tuple(f".{version}" for version in subject.versions)
    return [
        topic
        for topic in present
        if topic not in known
        and topic not in (subject.topics.blobs, subject.topics.intake)
        and not topic.endswith(of_versions)
    ]
