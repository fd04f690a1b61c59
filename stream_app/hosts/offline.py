"""A version's outputs into a file, for analysis: folded from history, and nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import msgspec

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover_backfill
from stream_app.core.store import NothingSaved
from stream_app.core.topics import Topics
from stream_app.hosts.bounds import Range
from stream_app.hosts.collector import calm_garbage_collector
from stream_app.hosts.overlay_store import Overlay
from stream_app.hosts.rebuilding import temporary_store
from stream_app.records import Output

BATCH = 5000
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
            processor, store = _processor(
                log, pipeline, manifest, version, partition, begin, opened
            )
            while processor.next_offset < end and not stopped():
                read = log.read(
                    Topics(pipeline.name).events,
                    partition,
                    processor.next_offset,
                    records_max=BATCH,
                )
                records = [record for record in read if record.offset < end]
                if not records:
                    break
                batch = processor.process(records)
                for output in batch.outputs:
                    write(output)
                written += len(batch.outputs)
                if batch.image_due:
                    store.save(processor.image())
                    processor.saved()
                progress(done_before + processor.next_offset)
            done_before += processor.next_offset
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


def _processor(
    log: Log,
    pipeline: Pipeline,
    manifest: Manifest,
    version: str,
    partition: int,
    begin: int,
    opened: ExitStack,
) -> tuple[PartitionProcessor, Overlay]:
    log_start = log.bounds(Topics(pipeline.name).events, partition)[0]
    recovery = recover_backfill(manifest, partition, pipeline, version, None, None, log_start, 0)
    store = Overlay(NothingSaved(), lambda: temporary_store(opened))
    opened.callback(store.close)
    processor = PartitionProcessor(
        manifest,
        partition,
        msgspec.structs.replace(recovery.start, publish_from=begin),
        pipeline.plans([version]),
        store,
        seal=BlobSeal(bytes(KEY_BYTES)),
        known=pipeline.known,
    )
    return processor, store
