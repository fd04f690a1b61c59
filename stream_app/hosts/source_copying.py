"""Copies a pipeline's sources: which there are, and how one process goes through its share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from stream_app.codec.mapping import SourceMapper
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.errors import UsageError
from stream_app.hosts.embedded import Owned, Stopped
from stream_app.hosts.pace import Pace
from stream_app.hosts.source_host import SourceHost
from stream_app.near_names import did_you_mean

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


def open_source(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    place: str,
    pace: Pace,
) -> SourceHost:
    """Own one source partition, `topic/number`, fencing its previous owner."""
    topic, _, number = place.rpartition("/")
    [mappings] = [source.mappings for source in pipeline.sources if source.topic == topic]
    mapper = SourceMapper(mappings, manifest.partitions, pipeline.limits.value_bytes_max)
    return SourceHost(
        log, pipeline.name, manifest.partitions, topic, int(number), mapper, pace=pace
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
    pace = Pace()
    pace.expect(places)
    try:
        for place in places:
            hosts.append(open_source(log, pipeline, manifest, place, pace))
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
        for host in hosts:
            host.step(until=None if until is None else until[host.place])
            if stopped():
                return
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            for host in hosts:
                say(source_progress(host))
        if not all(host.idle for host in hosts):
            continue
        if until is not None:
            return
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
