"""A processor from nothing, for what runs without a log: `evaluate` and the test driver."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream_app.codec.blobs import KEY_BYTES, BlobSeal
from stream_app.codec.limits import Limits
from stream_app.core.commit import SEMANTICS, Manifest
from stream_app.core.declaration import Declaration
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover
from stream_app.core.settings import Settings
from stream_app.core.store import NothingSaved

LOG_ID = "rehearsal"
# Nothing that is sealed here outlives the process.
SEAL = BlobSeal(bytes(KEY_BYTES))


def any_time(settings: Settings) -> Settings:
    """Return settings for made-up clocks: the default earliest time is lowered to no bound.

    A minimum that the pipeline declares itself stays.
    """
    limits = settings.acceptance.limits
    if limits.ts_min_ms != Limits().ts_min_ms:
        return settings
    limits = msgspec.structs.replace(limits, ts_min_ms=-(1 << 62))
    acceptance = msgspec.structs.replace(settings.acceptance, limits=limits)
    return msgspec.structs.replace(settings, acceptance=acceptance)


def rehearsal_manifest(pipeline: Declaration, public_keys: Mapping[str, str]) -> Manifest:
    """Return a manifest with one partition that begins at offset 0."""
    return Manifest(
        log_id=LOG_ID,
        pipeline=pipeline.name,
        partitions=1,
        semantics=SEMANTICS,
        initial_champion=pipeline.initial_champion,
        origins=[0],
        public_keys=dict(public_keys),
        settings=any_time(pipeline.settings()).plain(),
    )


def rehearsal_processor(pipeline: Declaration) -> PartitionProcessor:
    """Return a processor at offset 0 that nothing was saved for."""
    manifest = rehearsal_manifest(pipeline, {})
    start = recover(manifest, 0, pipeline, None, None, 0).start
    return PartitionProcessor(
        manifest,
        0,
        start,
        pipeline.plans(),
        NothingSaved(),
        seal=SEAL,
        known=pipeline.known,
    )
