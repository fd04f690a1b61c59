"""What there is to look after: a pipeline as its declaration or its log tells."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.core.upkeep import Subject
from stream_app.counted import counted
from stream_app.errors import UsageError
from stream_app.hosts.log_url import log_exists, open_broker
from stream_app.hosts.manifests import commits, committed, read_manifest, settings_in_force
from stream_app.hosts.registration import check_partitions
from stream_app.hosts.source_list import known_sources


def open_if_there(url: str) -> Log | None:
    """Open a log to look at it; None when there is none yet."""
    return open_broker(url, read_only=True) if log_exists(url) else None


def declared_subject(
    spec: str,
    pipeline: Pipeline,
    manifest: Manifest | None,
    present: Mapping[str, int],
    partitions: int | None = None,
) -> Subject:
    """Return what a declaration needs; how many partitions is the log's choice where it has one.

    Raises `UsageError` for a number that the declaration or the log contradicts.
    """
    fixed = present.get(Topics(pipeline.name).events) if manifest is None else manifest.partitions
    if partitions is not None and fixed is not None and partitions != fixed:
        raise UsageError(
            f"{pipeline.name} has {counted(fixed, 'partition')}, not {partitions}, and keeps them",
            attempt="leave the number out, or give the pipeline a new name",
        )
    count = fixed or partitions or 1
    check_partitions(pipeline, count)
    return Subject(
        spec=spec,
        pipeline=pipeline.name,
        versions=tuple(pipeline.versions),
        partitions=count,
        limits=pipeline.limits,
        manifest=manifest,
        sources=tuple(source.topic for source in pipeline.sources),
        imports=pipeline.imports,
    )


def subject_of(
    log: Log | None, spec: str, plan: Pipeline | None, partitions: int | None = None
) -> Subject:
    """Return what `spec` means: a declaration, or else the name of a pipeline in the log."""
    if log is None:
        if plan is None:
            raise UsageError(f"there is no log yet to know {spec!r}", attempt="name its file")
        return declared_subject(spec, plan, None, {}, partitions)
    if plan is None:
        return named_subject(log, spec)
    manifest = manifest_if_there(log, plan.name)
    subject = declared_subject(spec, plan, manifest, log.topics(), partitions)
    if manifest is None:
        return subject
    found = commits(log, manifest)
    hosted = {version for commit in found if commit is not None for version in commit.versions}
    # Before anything is committed every declared version is taken in at once.
    backfills = tuple(v for v in plan.versions if hosted and v not in hosted)
    return msgspec.structs.replace(subject, backfills=backfills)


def named_subject(log: Log, name: str) -> Subject:
    """Return what the log knows of a pipeline that was started before."""
    manifest = read_manifest(log, name)
    commit = committed(log, name, 0)
    if commit is None:  # nothing has run yet: what has a topic was declared
        start = Topics(name).shadow("")
        versions = tuple(t.removeprefix(start) for t in log.topics() if t.startswith(start))
    else:
        versions = tuple(commit.versions)
    return Subject(
        spec=name,
        pipeline=name,
        versions=versions,
        partitions=manifest.partitions,
        limits=settings_in_force(log, manifest).acceptance.limits,
        manifest=manifest,
        sources=tuple(dict.fromkeys(topic for topic, _ in known_sources(log, name))),
        imports=Topics(name).blobs in log.topics(),
    )


def manifest_if_there(log: Log, pipeline: str) -> Manifest | None:
    """Return a pipeline's manifest; None before its first start."""
    if log.ledger_get(Topics(pipeline).ledger, 0, "manifest") is None:
        return None
    return read_manifest(log, pipeline)
