"""A pipeline's place in a log: its topics and its manifest, made once and checked ever after."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from stream_app.core.commit import SEMANTICS, Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.recovery import check_settings
from stream_app.core.settings import Settings
from stream_app.core.topics import Topics
from stream_app.counted import counted
from stream_app.errors import LogUntrusted, PositionMissing, UsageError
from stream_app.hosts.manifests import (
    commits,
    read_manifest,
    require_own_partitions,
    require_same_events,
    settings_in_force,
)
from stream_app.hosts.published import published_topic


def register(
    log: Log,
    pipeline: Pipeline,
    public_keys: Callable[[], dict[str, str]],
    *,
    partitions: int | None = None,
    settings: Settings | None = None,
) -> Manifest:
    """Return the pipeline's manifest, writing it and the topics at the first start.

    `partitions` counts only then (default 1); a later call with another number is refused.
    Processes that start at once agree. Raises `UsageError` and `NeedsPerson` errors.
    """
    topics = Topics(pipeline.name)
    if log.ledger_get(topics.ledger, 0, "manifest") is None:
        # Topics that an operator has made have their number already.
        count = partitions or log.topics().get(topics.events) or 1
        check_partitions(pipeline, count)
        _refuse_orphans(log, pipeline)
        log.create_topics(dict.fromkeys(_needed(log, pipeline, pipeline.versions), count))
        manifest = Manifest(
            log_id=log.log_id,
            pipeline=pipeline.name,
            partitions=count,
            semantics=SEMANTICS,
            initial_champion=pipeline.initial_champion,
            origins=[log.bounds(topics.events, p)[0] for p in range(count)],
            public_keys=public_keys(),
            settings=(settings or pipeline.settings()).plain(),
            events_id=log.topic_id(topics.events),
        )
        log.ledger_put(topics.ledger, 0, "manifest", msgspec.json.encode(manifest), expected=None)
    manifest = read_manifest(log, pipeline.name)
    if partitions is not None and partitions != manifest.partitions:
        raise UsageError(
            f"{pipeline.name} in {log.url} has {counted(manifest.partitions, 'partition')}, "
            f"not {partitions}",
            attempt="leave the number out: it is fixed at the first start",
        )
    check_partitions(pipeline, manifest.partitions)
    _require_events(log, manifest)
    require_own_partitions(log, manifest, log.topics().get(topics.events, 0))
    versions = _to_be_run(log, pipeline, manifest)
    log.create_topics(dict.fromkeys(_needed(log, pipeline, versions), manifest.partitions))
    require_same_events(log, manifest)
    _make_narrow(log, pipeline)
    return manifest


def require_settings(log: Log, manifest: Manifest, pipeline: Pipeline) -> None:
    """Raise `SettingsDiffer` unless the declaration has the log's newest settings."""
    check_settings(pipeline.settings(), settings_in_force(log, manifest), pipeline.name)


def _to_be_run(log: Log, pipeline: Pipeline, manifest: Manifest) -> Collection[str]:
    """Return the versions whose outputs a start may write.

    One that is declared and not built yet needs no topic: live does not stop for the want of it.
    """
    shadow, present = Topics(pipeline.name).shadow, log.topics()
    if not log.keeps_ledgers_in_topics or all(shadow(v) in present for v in pipeline.versions):
        return pipeline.versions.keys()  # as mostly, and no ledger is read for it
    found = commits(log, manifest)
    listed = {name for commit in found if commit is not None for name in commit.versions}
    return pipeline.versions.keys() if None in found else listed & pipeline.versions.keys()


def _needed(log: Log, pipeline: Pipeline, versions: Collection[str]) -> list[str]:
    topics = Topics(pipeline.name)
    internal = topics.internal if log.keeps_ledgers_in_topics else []
    intake = [topics.intake] if log.keeps_ledgers_in_topics and pipeline.sources else []
    return [*topics.all(sorted(versions)), *internal, *intake]


def _make_narrow(log: Log, pipeline: Pipeline) -> None:
    """Make topics of one partition where topics are made by themselves; elsewhere it is others'."""
    if log.keeps_ledgers_in_topics:
        return
    wanted = {source.topic for source in pipeline.sources}
    if pipeline.imports:
        wanted.add(Topics(pipeline.name).blobs)
    missing = wanted - log.topics().keys()
    if missing:
        log.create_topics(dict.fromkeys(sorted(missing), 1))


def check_partitions(pipeline: Pipeline, partitions: int) -> None:
    """Raise `UsageError` for a number of partitions that a pipeline cannot have."""
    if pipeline.model_per == "pipeline" and partitions > 1:
        raise UsageError(
            f'{pipeline.name} keeps one model for the pipeline (model_per="pipeline"), which '
            f"cannot learn from {partitions} partitions",
            attempt=f'one partition; or model_per="partition": {partitions} independent models, '
            f'each learning from about 1/{partitions} of the events; or model_per="key": one model '
            "for each key",
        )
    if partitions < 1:
        raise UsageError(f"{partitions} partitions", attempt="--partitions 1 or more")


def _require_events(log: Log, manifest: Manifest) -> None:
    """Refuse to make the topic of events a second time where no topic is ever deleted."""
    events = Topics(manifest.pipeline).events
    if not log.keeps_ledgers_in_topics and events not in log.topics():
        raise LogUntrusted(
            f"{events} in {log.url} is gone, although {manifest.pipeline} began there.",
            attempt="restore the log from a backup; keep this file and its -wal for inspection",
        )


def _refuse_orphans(log: Log, pipeline: Pipeline) -> None:
    """Refuse outputs without a manifest: the ledger was lost, and zero would be wrong."""
    topic = published_topic(log, pipeline.name, pipeline.versions)
    if topic is not None:
        raise PositionMissing(
            f"{topic} in {log.url} has records, but the log has no manifest and no position of "
            f"{pipeline.name}.",
            attempt="restore the log from a backup, or give the pipeline a new name",
        )
