"""A version's outputs into a file, for analysis: folded from history, and nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.recovery import recover_backfill
from stream_app.core.topics import Topics
from stream_app.hosts.bounds import Range
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.refolding import Refold, refold, temporary_store
from stream_app.records import Output

SAMPLE = 3000


def fold_outputs(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    version: str,
    ranges: Mapping[int, Range],
    write: Callable[[Output], None],
    *,
    progress: Callable[[int], None],
    stopped: Callable[[], bool],
) -> int:
    """Hand every output of `version` that events in `ranges` cause to `write`; returns how many.

    The bytes are those that a backfill would publish. Partitions come one after the other, each in
    the order of its log. Nothing is written to the log, and no state is left.
    """
    calm_garbage_collector()
    written = 0
    done_before = 0
    for partition, (begin, end) in ranges.items():
        with ExitStack() as opened:
            fold = _begun(log, pipeline, manifest, version, partition, begin, opened)
            for batch in fold.batches(end):
                for output in batch.outputs:
                    write(output)
                written += len(batch.outputs)
                progress(done_before + fold.processor.next_offset)
                if stopped():
                    break
            done_before += fold.processor.next_offset
    return written


def seconds_of(
    log: Log, pipeline: Pipeline, manifest: Manifest, version: str, records: int
) -> float | None:
    """Return about how long folding so many records takes here; None where there are none to try.

    Folds the first ones in memory and measures. A model that grows is slower later on.
    """
    for partition in range(manifest.partitions):
        origin = manifest.origins[partition]
        end = min(log.bounds(Topics(pipeline.name).events, partition)[1], origin + SAMPLE)
        if end <= origin:
            continue
        began = time.perf_counter()
        ranges = {partition: Range(origin, end)}
        place = (log, pipeline, manifest, version, ranges)
        fold_outputs(*place, _nowhere, progress=_nowhere, stopped=lambda: False)
        return (time.perf_counter() - began) * records / (end - origin)
    return None


def _nowhere(_what: object) -> None:
    """Let go of it."""


def _begun(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    version: str,
    partition: int,
    begin: int,
    opened: ExitStack,
) -> Refold:
    log_start = log.bounds(Topics(pipeline.name).events, partition)[0]
    start = recover_backfill(manifest, partition, pipeline, version, None, None, log_start, 0).start
    begun = refold(
        log,
        pipeline,
        manifest,
        partition,
        msgspec.structs.replace(start, publish_from=begin),
        lambda: temporary_store(opened, "backfill"),
    )
    opened.callback(begun.saved.close)
    return begun
