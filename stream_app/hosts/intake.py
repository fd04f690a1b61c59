"""What `intake` does: a pipeline's sources, copied in this process or shared by several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.source_position import place_name
from stream_app.errors import UsageError
from stream_app.hosts.embedded import Owned
from stream_app.hosts.log_url import is_kafka, open_broker
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.source_copying import Say, Skipped, copy_here, source_counts
from stream_app.hosts.source_host import skip_to
from stream_app.hosts.state_directory import StateDirectory
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.supervision import supervise
from stream_app.hosts.warm_forks import warm_up
from stream_app.hosts.worker_plan import WorkerPlan, opened
from stream_app.records import format_position, parse_position

# What takes a worker longest to import; the declaration brings the rest of River.
IMPORTED_ON_KAFKA = ("stream_app.learning", "stream_app.hosts.intake_member")


class IntakePlan(WorkerPlan, frozen=True):
    """What `intake` was asked for; `skip_to` has positions, `topic/partition@offset`."""

    skip_to: tuple[str, ...] = ()


def intake(plan: IntakePlan, say: Say, stopped: StopFlag) -> None:
    """Copy a pipeline's sources until stopped or, with `until_end`, to the ends that they have now.

    Raises what ended the first source partition, after every worker has ended.
    """
    if is_kafka(plan.broker):
        warm_up(*IMPORTED_ON_KAFKA)
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


def _skip(log: Log, manifest: Manifest, counts: Mapping[str, int], text: str) -> Skipped:
    try:
        topic, partition, offset = parse_position(text)
    except ValueError as error:
        raise UsageError(f"--skip-to: {error}", attempt="--skip-to arrivals/0@1234") from None
    start, end = 0, 0
    if partition < counts.get(topic, 0):
        start, end = log.sources().bounds(topic, partition)
    else:
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
    with opened(plan) as (log, pipeline, manifest, state):
        if is_kafka(plan.broker):
            # Imported only here: whoever stays on this machine needs no client of Kafka's.
            from stream_app.hosts.intake_member import intake_as_member

            intake_as_member(log, pipeline, manifest, state, until, say, stopped)
            return
        copy_here(log, pipeline, manifest, places, until=until, say=say, stopped=stopped)
