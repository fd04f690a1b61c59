"""What `intake` does: a pipeline's sources, copied in this process or shared by several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from stream_app.codec.mapping import SourceMapper
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.source_position import place_name
from stream_app.errors import UsageError
from stream_app.hosts.embedded import Owned, Stopped
from stream_app.hosts.log_url import is_kafka, open_broker
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.source_host import SourceHost, nothing, skip_to
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.supervision import supervise
from stream_app.near_names import did_you_mean
from stream_app.records import format_position, parse_position

REPORT_EVERY_S = 0.2
IDLE_WAIT_S = 0.25


class SourceProgress(msgspec.Struct, frozen=True):
    """How far a source's partition is copied; `records` counts what this run has copied there."""

    partition: str
    next_offset: int
    end: int
    committed: int
    relearning: bool
    records: int
    copied: int
    refused: int
    skipped: int


class Skipped(msgspec.Struct, frozen=True):
    """A person has set a source partition's position; `before` is None where it had none."""

    partition: str
    before: int | None
    next_offset: int


Word = SourceProgress | Skipped | Owned | Stopped
Say = Callable[[Word], None]


def prepare_nothing() -> None:
    """Prepare nothing."""


class IntakePlan(msgspec.Struct, frozen=True):
    """What `intake` was asked for; `skip_to` has positions, `topic/partition@offset`.

    `prepare` is called first in every process, which has nothing of its parent's.
    """

    spec: str
    broker: str
    state: str
    workers: int = 1
    until_end: bool = False
    skip_to: tuple[str, ...] = ()
    prepare: Callable[[], None] = prepare_nothing


def intake(plan: IntakePlan, say: Say, stopped: StopFlag) -> None:
    """Copy a pipeline's sources until stopped or, with `until_end`, to the ends that they have now.

    Raises what ended the first source partition, after every worker has ended.
    """
    pipeline = _declared(plan.spec)
    log = open_broker(plan.broker, create=True)
    try:
        manifest = register(log, pipeline, StateDirectory(Path(plan.state)).public_keys)
        counts = source_counts(log, pipeline)
        for text in plan.skip_to:
            say(_skip(log, manifest, counts, text))
        ends = {
            place_name(topic, partition): log.sources().bounds(topic, partition)[1]
            for topic, count in counts.items()
            for partition in range(count)
        }
    finally:
        log.close()
    say(Owned(pipeline.name, tuple(ends)))
    until = ends if plan.until_end else None
    if is_kafka(plan.broker):
        # As for `run`: what ends a worker is not repaired but started again.
        shares = [tuple(ends)] * min(plan.workers, len(ends))
        supervise(_work, plan, shares, until, say, stopped, restarts=True)
    else:
        _work(plan, tuple(ends), until, say, stopped)


def _declared(spec: str) -> Pipeline:
    pipeline = load_pipeline(spec)
    if not pipeline.sources:
        raise UsageError(
            f"{pipeline.name} declares no intake, so there is nothing to copy",
            attempt='Pipeline(..., intake=[Intake("topic", ...)]); docs/intake.md shows how',
        )
    return pipeline


def source_counts(log: Log, pipeline: Pipeline) -> dict[str, int]:
    """Return every source's partition count; raises `UsageError` for one that is not there."""
    present = log.sources().topics()
    counts = {}
    for source in pipeline.sources:
        if source.topic not in present:
            _require_there(log, pipeline, source.topic, present)
        counts[source.topic] = present[source.topic]
    return counts


def _require_there(log: Log, pipeline: Pipeline, topic: str, present: Iterable[str]) -> None:
    try:
        log.sources().bounds(topic, 0)  # says so where it is only hidden from this user
    except UsageError:
        raise UsageError(
            f"{pipeline.name} declares intake from {topic}, and {log.url} has no such topic"
            + did_you_mean(topic, present),
            attempt=f"its right name in the declaration; or make the topic {topic}: its name is "
            "taken as it is, without a topic prefix",
        ) from None


def _skip(log: Log, manifest: Manifest, counts: Mapping[str, int], text: str) -> Skipped:
    try:
        topic, partition, offset = parse_position(text)
    except ValueError as error:
        raise UsageError(f"--skip-to: {error}", attempt="--skip-to arrivals/0@1234") from None
    start, end = 0, 0
    if partition < counts.get(topic, 0):
        start, end = log.sources().bounds(topic, partition)
    elif topic not in counts or partition >= counts[topic]:
        raise UsageError(
            f"--skip-to {text}: {manifest.pipeline} has no such source partition",
            attempt=", ".join(f"{name}/0 to {name}/{count - 1}" for name, count in counts.items()),
        )
    if offset > end:
        raise UsageError(
            f"--skip-to {text}: it ends at {end}",
            attempt=f"--skip-to {format_position(topic, partition, start)}, its beginning, or a "
            "later offset",
        )
    name, count = manifest.pipeline, manifest.partitions
    before = skip_to(log, name, count, topic, partition, max(offset, start))
    return Skipped(place_name(topic, partition), before, max(offset, start))


def _work(
    plan: IntakePlan,
    places: Sequence[str],
    until: Mapping[str, int] | None,
    say: Say,
    stopped: Callable[[], bool],
) -> None:
    """Copy some sources in this process; on Kafka those that the consumer group gives it."""
    plan.prepare()
    pipeline = load_pipeline(plan.spec)
    state = StateDirectory(Path(plan.state))
    log = open_broker(plan.broker)
    try:
        manifest = register(log, pipeline, state.public_keys)
        if is_kafka(plan.broker):
            # Imported only here: whoever stays on this machine needs no client of Kafka's.
            from stream_app.hosts.intake_member import intake_as_member

            intake_as_member(log, pipeline, manifest, state, until, say, stopped)
            return
        copy_here(log, pipeline, manifest, places, until=until, say=say, stopped=stopped)
    finally:
        log.close()


def open_source(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    place: str,
    *,
    reached: Callable[[str], None] = nothing,
) -> SourceHost:
    """Own one source partition, `topic/number`, fencing its previous owner."""
    topic, _, number = place.rpartition("/")
    [mappings] = [source.mappings for source in pipeline.sources if source.topic == topic]
    mapper = SourceMapper(mappings, manifest.partitions, pipeline.limits.value_bytes_max)
    return SourceHost(
        log, pipeline.name, manifest.partitions, topic, int(number), mapper, reached=reached
    )


def copy_here(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    places: Sequence[str],
    *,
    until: Mapping[str, int] | None,
    say: Say,
    stopped: Callable[[], bool],
) -> None:
    """Copy source partitions in turn until `stopped`, or until the offsets of `until`."""
    hosts: list[SourceHost] = []
    try:
        for place in places:
            hosts.append(open_source(log, pipeline, manifest, place))
            say(source_progress(hosts[-1]))
        _copy_in_turn(hosts, until, say, stopped)
        for host in hosts:
            say(source_progress(host))
    finally:
        for host in hosts:
            host.close()


def _copy_in_turn(
    hosts: Sequence[SourceHost],
    until: Mapping[str, int] | None,
    say: Say,
    stopped: Callable[[], bool],
) -> None:
    reported = time.monotonic()
    while not stopped():
        moved = 0
        for host in hosts:
            moved += host.step(until=None if until is None else until[host.place])
            if stopped():
                return
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            for host in hosts:
                say(source_progress(host))
        if until is not None and not moved:
            return
        if not moved:
            any(host.wait(IDLE_WAIT_S / len(hosts)) for host in hosts)


def source_progress(host: SourceHost) -> SourceProgress:
    """Return how far a source partition is copied."""
    position = host.position
    return SourceProgress(
        partition=host.place,
        next_offset=position.next_offset,
        # Behind the last record a log may end with markers of its own, which nobody ever reads.
        end=position.next_offset if host.idle else host.end,
        committed=position.next_offset,
        relearning=False,
        records=host.records,
        copied=position.copied,
        refused=position.refused,
        skipped=position.skipped,
    )
