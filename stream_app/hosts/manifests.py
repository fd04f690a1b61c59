"""What a log says of a pipeline that was started before; needs no model and no declaration."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from stream_app.core.authority import Keys
from stream_app.core.commit import Commit, Manifest, decode_commit, decode_manifest, decode_settings
from stream_app.core.log import Log
from stream_app.core.settings import Settings
from stream_app.core.topics import Topics
from stream_app.errors import LogUntrusted, UsageError
from stream_app.near_names import near_name

KNOWN_MAX = 20
N = TypeVar("N")


def pipelines(log: Log) -> list[str]:
    """Return the names of all pipelines in a log.

    Others name topics `orders.events` too: a pipeline's has predictions beside it.
    """
    topics = log.topics()
    names = (topic.removesuffix(".events") for topic in topics if topic.endswith(".events"))
    return sorted(name for name in names if Topics(name).predictions in topics)


def read_manifest(log: Log, pipeline: str) -> Manifest:
    """Return the manifest of a pipeline that was started before; raises named errors."""
    found = log.ledger_get(Topics(pipeline).ledger, 0, "manifest")
    if found is None:
        raise never_started(log, pipeline)
    manifest = decode_manifest(found, f"{pipeline} in {log.url}")
    if manifest.log_id != log.log_id or manifest.pipeline != pipeline:
        raise LogUntrusted(
            f"the manifest of {pipeline} in {log.url} is of {manifest.pipeline} in log "
            f"{manifest.log_id}; this is log {log.log_id}.",
            attempt="restore the log from a backup: its ledger was copied from elsewhere",
        )
    return manifest


def require_same_events(log: Log, manifest: Manifest) -> None:
    """Raise `LogUntrusted` where the topic of events was deleted and made anew."""
    if manifest.events_id:
        require_same_id(log, manifest, log.topic_id(Topics(manifest.pipeline).events))


def require_same_id(log: Log, manifest: Manifest, found: str) -> None:
    """Raise `LogUntrusted` where the topic of events has another id than it had."""
    topic = Topics(manifest.pipeline).events
    if manifest.events_id and found != manifest.events_id:
        raise LogUntrusted(
            f"{topic} in {log.url} is not the topic that {manifest.pipeline} has learned from: it "
            f"was deleted and made anew (its id is {found}, and was {manifest.events_id}).",
            attempt="give the pipeline a new name: what it has learned is of records that are gone",
        )


def never_started(log: Log, pipeline: str) -> UsageError:
    """Return the error for a name that has no manifest in the log."""
    known = pipelines(log)
    if pipeline in known:
        return UsageError(
            f"{pipeline} has topics in {log.url}, but was never started there",
            attempt="stream-app run FILE, which begins it; produce takes its file before that, too",
        )
    names = ", ".join(known[:KNOWN_MAX]) + (" ..." if len(known) > KNOWN_MAX else "")
    return UsageError(
        f"{log.url} has no pipeline {pipeline!r}; it has {names or 'none'}",
        attempt=near_name(pipeline, known)
        or "one of those; a new one is begun by stream-app run FILE (on Kafka after stream-app "
        "topics FILE --create)",
    )


def require_own_partitions(log: Log, manifest: Manifest, count: int) -> None:
    """Raise `LogUntrusted` where the topic of events has been given more partitions.

    Producers share the keys anew then, so an id and a model would be in two places.
    """
    if count > manifest.partitions:
        events = Topics(manifest.pipeline).events
        raise LogUntrusted(
            f"{events} in {log.url} was given partitions: it has {count}, and {manifest.pipeline} "
            f"began with {manifest.partitions}, which cannot change since keys hash to them.",
            attempt=f"give the pipeline a new name, with topics of {count} partitions; what "
            f"producers have sent to the first {manifest.partitions} since may be misplaced",
        )


def committed(log: Log, pipeline: str, partition: int) -> Commit | None:
    """Return a partition's committed position; None before its first one."""
    found = log.ledger_get(Topics(pipeline).ledger, partition, "commit")
    return None if found is None else decode_commit(found, f"{pipeline}/{partition}")


def commits(log: Log, manifest: Manifest) -> list[Commit | None]:
    """Return every partition's committed position."""
    return [committed(log, manifest.pipeline, p) for p in range(manifest.partitions)]


def champion(log: Log, manifest: Manifest, partition: int) -> str:
    """Return the version whose predictions downstream reads."""
    commit = committed(log, manifest.pipeline, partition)
    return manifest.initial_champion if commit is None else commit.seat.champion


def settings_in_force(log: Log, manifest: Manifest) -> Settings:
    """Return the newest settings in the log; the fold reaches them at their position."""
    newest = log.ledger_get(Topics(manifest.pipeline).ledger, 0, "settings")
    if not newest:
        return manifest.first_settings()
    return decode_settings(newest, f"{manifest.pipeline} in {log.url}")


def newest_keys(log: Log, manifest: Manifest) -> Keys:
    """Return the keys that the log's newest key control leaves; each partition reaches its own.

    A note for who signs: what a record was signed with is judged by the fold alone.
    """
    keys = ledger_note(log, manifest.pipeline, "keys", Keys, "the newest keys")
    return manifest.first_keys() if keys is None else keys


def ledger_note(log: Log, pipeline: str, key: str, kind: type[N], what: str) -> N | None:
    """Return what the ledger notes under a key for people and commands; None where nothing is.

    Raises `LogUntrusted`, which says `what` it is a note of.
    """
    found = log.ledger_get(Topics(pipeline).ledger, 0, key)
    return None if found is None else decode_note(found, pipeline, kind, what)


def decode_note(found: bytes, pipeline: str, kind: type[N], what: str) -> N:
    """Return what a note says; raises `LogUntrusted`, which says `what` it is a note of."""
    try:
        return msgspec.json.decode(found, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogUntrusted(
            f"the ledger's note of {what} of {pipeline} cannot be read: {error}.",
            attempt="restore the log from a backup; a newer stream-app may also have written it",
        ) from None
