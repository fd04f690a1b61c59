"""What a log says of a pipeline that was started before; needs no model and no declaration."""

from __future__ import annotations

import msgspec

from stream_app.core.commit import Manifest, decode_commit, decode_manifest
from stream_app.core.log import Log
from stream_app.core.settings import Settings, read_settings
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, UsageError
from stream_app.near_names import near_name


def pipelines(log: Log) -> list[str]:
    """Return the names of all pipelines in a log."""
    return sorted(t.removesuffix(".events") for t in log.topics() if t.endswith(".events"))


def read_manifest(log: Log, pipeline: str) -> Manifest:
    """Return the manifest of a pipeline that was started before; raises named errors."""
    found = log.ledger_get(Topics(pipeline).ledger, 0, "manifest")
    if found is None:
        known = pipelines(log)
        raise UsageError(
            f"{log.url} has no pipeline {pipeline!r}; it has {', '.join(known) or 'none'}",
            attempt=near_name(pipeline, known)
            or "one of those, or stream-app run FILE to start a new one",
        )
    manifest = decode_manifest(found, f"{pipeline} in {log.url}")
    if manifest.log_id != log.log_id or manifest.pipeline != pipeline:
        raise LogUntrusted(
            f"the manifest of {pipeline} in {log.url} is of {manifest.pipeline} in log "
            f"{manifest.log_id}; this is log {log.log_id}.",
            attempt="restore the log from a backup: its ledger was copied from elsewhere",
        )
    return manifest


def champion(log: Log, manifest: Manifest, partition: int) -> str:
    """Return the version whose predictions downstream reads."""
    found = log.ledger_get(Topics(manifest.pipeline).ledger, partition, "commit")
    if found is None:
        return manifest.initial_champion
    return decode_commit(found, f"{manifest.pipeline}/{partition}").seat.champion


def settings_in_force(log: Log, manifest: Manifest) -> Settings:
    """Return the newest settings in the log; the fold reaches them at their position."""
    newest = log.ledger_get(Topics(manifest.pipeline).ledger, 0, "settings")
    return read_settings(msgspec.json.decode(newest)) if newest else manifest.first_settings()
