"""Looks a pipeline's log over and says what is wrong and how to repair it; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from stream_app.core.importing import FileOrder
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.upkeep import Finding, Keeper, Subject, deviations, leftovers
from stream_app.counted import counted
from stream_app.errors import LogUnavailable, LogUntrusted, StreamAppError
from stream_app.hosts.blob_topic import BlobTopic
from stream_app.hosts.event_samples import sample_findings
from stream_app.hosts.import_orders import noted
from stream_app.hosts.keepers import keeper_of
from stream_app.hosts.manifests import committed
from stream_app.hosts.source_samples import source_findings
from stream_app.hosts.source_status import source_statuses
from stream_app.hosts.subjects import declared_subject, open_if_there, subject_of


def wall_clock_ms() -> int:
    """Return this machine's time as Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Diagnosis(msgspec.Struct, frozen=True):
    """What was found about a pipeline, problems first."""

    pipeline: str
    broker: str
    findings: list[Finding]

    @property
    def problems(self) -> int:
        """How many findings need a person."""
        return sum(row.level == "problem" for row in self.findings)


def doctor(
    broker: str,
    spec: str,
    plan: Pipeline | None,
    *,
    role: str = "worker",
    clock_ms: Callable[[], int] = wall_clock_ms,
) -> Diagnosis:
    """Look at everything around a pipeline: the log, its topics, and who writes to it.

    `role` is what the present credentials are for. What cannot be looked at is a finding too.
    Raises errors only where there is no pipeline or no log to look at.
    """
    keeper = keeper_of(broker)
    log = open_if_there(broker)
    try:
        findings: list[Finding] = []
        try:
            subject = subject_of(log, spec, plan)
        except LogUnavailable as error:
            if plan is None or log is None:
                raise
            findings.append(_unreadable(log, error))
            subject = declared_subject(spec, plan, None, log.topics())
        findings += [*_missing(keeper, subject), *_leftover(keeper, subject)]
        findings += keeper.findings(subject, role, clock_ms)
        findings += [
            Finding("note", "declaration", spec, note, "the file as it was meant")
            for note in (() if plan is None else plan.notes())
        ]
        if log is not None:
            # Producers may not read events, nor files.
            reading = () if role == "producer" else (sample_findings, _files)
            for check in (*reading, _origin, _counted, _intake):
                findings += _tried(check, log, subject)
            if plan is not None and role == "worker":
                findings += _tried(lambda log, _: source_findings(log, plan.sources), log, subject)
    finally:
        if log is not None:
            log.close()
    ordered = sorted(set(findings), key=lambda row: (row.level != "problem", row.check, row.where))
    return Diagnosis(subject.pipeline, keeper.url, ordered)


def _tried(
    check: Callable[[Log, Subject], list[Finding]], log: Log, subject: Subject
) -> list[Finding]:
    try:
        return check(log, subject)
    except StreamAppError as error:
        return [_unreadable(log, error)]


def _unreadable(log: Log, error: StreamAppError) -> Finding:
    return Finding("problem", "readable", log.url, error.problem, error.attempt)


def _missing(keeper: Keeper, subject: Subject) -> Iterator[Finding]:
    """Topics that are not there; and counts, where nothing else about a topic can differ."""
    found = keeper.found(subject.pipeline)
    for spec in keeper.wanted(subject):
        if spec.name not in found:
            if not keeper.makes_topics:
                what = "it is missing, or these credentials may not see it"
                attempt = f"stream-app topics {subject.spec} --create --broker {keeper.url}"
                yield Finding("problem", "missing", spec.name, what, attempt)
        elif keeper.makes_topics:
            for row in deviations(spec, found[spec.name]):
                what = f"{row.name} is {row.present}, and has to be {row.wanted}"
                yield Finding(
                    "problem", "partitions", spec.name, what, keeper.remedy(spec.name, row)
                )


def _leftover(keeper: Keeper, subject: Subject) -> Iterator[Finding]:
    found = keeper.found(subject.pipeline)
    for topic in leftovers(subject, keeper.wanted(subject), found):
        what = "no declared version needs it; what was published stays in it"
        yield Finding("note", "leftover", topic, what, keeper.removal(topic))


def _origin(log: Log, subject: Subject) -> list[Finding]:
    """Say where retention has taken the beginning of the fold away."""
    if subject.manifest is None:
        return []
    rows = []
    for partition, origin in enumerate(subject.manifest.origins):
        start, _ = log.bounds(subject.topics.events, partition)
        if start > origin:
            where = f"{subject.topics.events}/{partition}@{origin}"
            what = (
                f"the records from here to {start} are gone: state that is lost cannot be built "
                "again, and `replay` cannot begin at the origin"
            )
            attempt = "keep the state directory safe; only a new pipeline has a new origin"
            rows.append(Finding("note", "origin", where, what, attempt))
    return rows


def _files(log: Log, subject: Subject) -> list[Finding]:
    """Say which files that versions begin from the log no longer has."""
    rows, manifest = list[Finding](), subject.manifest
    if manifest is None:
        return rows
    for version in subject.versions:
        note = noted(log, manifest, version)
        if note is None or note.control.file is None:
            continue
        try:
            order = msgspec.convert(note.control.file, FileOrder)
            BlobTopic(log, subject.pipeline).read(order)
        except LogUntrusted as error:
            where = f"{subject.topics.blobs}/0"
            rows.append(Finding("problem", "files", where, error.problem, error.attempt))
    return rows


def _counted(log: Log, subject: Subject) -> list[Finding]:
    """Say what `run` has counted since the origin."""
    if subject.manifest is None:
        return []
    rows = []
    for partition in range(subject.manifest.partitions):
        commit = committed(log, subject.pipeline, partition)
        if commit is None:
            continue
        where = f"{subject.topics.events}/{partition}"
        for name, what in _COUNTED.items():
            if count := commit.counters.get(name):
                attempt = f"stream-app status {subject.pipeline} --broker {log.url}"
                rows.append(
                    Finding("note", name, where, f"{counted(count, 'record')} {what}", attempt)
                )
    return rows


def _intake(log: Log, subject: Subject) -> list[Finding]:
    """Say which sources of intake are not there, or not what they were."""
    rows = []
    if log.keeps_ledgers_in_topics:
        present = log.sources().topics()
        for topic in subject.sources:
            if topic not in present:
                what = "intake is declared from it, and there is no such topic, or it is hidden"
                attempt = "its name as it is, without a topic prefix; or make it"
                rows.append(Finding("problem", "intake", topic, what, attempt))
    if subject.manifest is not None and subject.sources:
        for row in source_statuses(log, subject.manifest):
            if row.problem is not None:
                attempt = f"stream-app intake {subject.spec} says what to do"
                rows.append(Finding("problem", "intake", row.source, row.problem, attempt))
    return rows


_COUNTED = {
    "misplaced": "since the origin were in another partition than murmur2 gives their key",
    "keys_differ": "since the origin had another key than their event says",
}
