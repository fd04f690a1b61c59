"""Where a partition goes on: from manifest, committed position and checkpoint to a start.

Decides and never does. Never an empty model in mid-log: what cannot be trusted is a named error,
and what is lost is folded again from the origin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from stream_app.core.batch import Start
from stream_app.core.chain import Chain
from stream_app.core.commit import SEMANTICS, Commit, Manifest, VersionCommit, require_built
from stream_app.core.declaration import Declaration
from stream_app.core.environment import this_environment
from stream_app.core.position import Position
from stream_app.core.seats import Seat
from stream_app.core.settings import Settings, differences
from stream_app.errors import DefinitionDiffers, LogUntrusted, SettingsDiffer, StateUntrusted


class Recovery(msgspec.Struct, frozen=True):
    """A start, and what a person should know about it.

    `rebuild` says why there was no usable checkpoint; `leaving` names the versions that this very
    start ends for good, with the reason.
    """

    start: Start
    chain_at_commit: bytes | None
    rebuild: str | None
    leaving: dict[str, str]


def recover(
    manifest: Manifest,
    partition: int,
    pipeline: Declaration,
    commit: Commit | None,
    saved: Position | None,
    log_start: int,
    wanted: Collection[str] | None = None,
) -> Recovery:
    """Return where to go on. `wanted` names the versions to host, by default all that may be.

    Raises `NeedsPerson` errors: another definition under a version's name, a checkpoint ahead of
    the commit, another environment, a log that no longer reaches back to the origin.
    """
    where = f"{pipeline.name}/{partition}"
    origin = manifest.origins[partition]
    hosted, left, leaving = _hosted(manifest, partition, pipeline, commit, wanted)
    first = Seat(manifest.initial_champion, origin)
    champion = (commit.seat if commit is not None else first).champion
    if champion not in hosted:
        raise DefinitionDiffers(
            f"version {champion} is the champion of {where}, and is not among the versions to run.",
            attempt=f"declare {champion} again: its predictions are the ones downstream reads",
        )
    if commit is not None:
        _require_seat(commit, first, where)
    committed = commit.next_offset if commit is not None else origin
    position, rebuild = _position(manifest, partition, saved, hosted, committed)
    require_unbroken(where, log_start, position.next_offset)
    start = Start(
        position,
        committed,
        committed,
        first,
        hosted,
        left,
        seats=() if commit is None else tuple(commit.seats),
        left_definitions=_left_definitions(commit, left),
    )
    return _recovery(start, origin, commit, rebuild, leaving)


def _recovery(
    start: Start,
    origin: int,
    commit: Commit | None,
    rebuild: str | None,
    leaving: dict[str, str],
) -> Recovery:
    """Return a start with the chain to be met; where nothing was committed nothing is rebuilt."""
    chain = bytes.fromhex(commit.chain) if commit is not None else None
    rebuild = rebuild if start.committed > origin else None
    return Recovery(start, chain, rebuild, leaving)


def _require_seat(commit: Commit, first: Seat, where: str) -> None:
    """Raise `LogUntrusted` unless the seat is what its history has made it."""
    obeyed = [change for change in commit.seats if not change.refused]
    made = Seat(obeyed[-1].champion, obeyed[-1].since) if obeyed else first
    if commit.seat != made:
        raise LogUntrusted(
            f"the committed position of {where} says that {commit.seat.champion} is champion since "
            f"{commit.seat.since}, and by its own history {made.champion} is since {made.since}.",
            attempt="restore the log from a backup: its ledger was changed",
        )


def _left_definitions(commit: Commit | None, left: Collection[str]) -> dict[str, str]:
    """Return what the versions that left were, which none under their names may differ from."""
    if commit is None:
        return {}
    listed = {name: version.definition for name, version in commit.versions.items()}
    known = commit.left_definitions | listed
    return {name: known[name] for name in left if name in known}


def recover_backfill(
    manifest: Manifest,
    partition: int,
    pipeline: Declaration,
    version: str,
    commit: Commit | None,
    saved: Position | None,
    log_start: int,
    published: int,
    since: int = 0,
) -> Recovery:
    """Return where a version's backfill goes on: its own position and state, and no seat.

    `published` is the offset up to which the live lineage once put out the version's outputs,
    `since` where a backfill that begins is to begin with them. Raises as `recover` does.
    """
    where = f"{pipeline.name}/{partition}"
    origin = manifest.origins[partition]
    if commit is not None:
        require_built(commit, version, where)
        require_fit(pipeline, commit, None)
        hosted = dict(commit.versions)
    else:
        first = origin if published else max(origin, since)
        hosted = {version: VersionCommit(pipeline.definitions()[version], origin, first)}
    committed = commit.next_offset if commit is not None else origin
    position, rebuild = _position(manifest, partition, saved, hosted, committed)
    require_unbroken(where, log_start, position.next_offset, version)
    start = Start(
        position,
        committed,
        max(committed, published, hosted[version].published_from),
        Seat("", origin),
        hosted,
        {},
        backfill=True,
    )
    return _recovery(start, origin, commit, rebuild, {})


def require_fit(pipeline: Declaration, commit: Commit, wanted: Collection[str] | None) -> None:
    """Raise a `NeedsPerson` error unless these definitions, here, made what was committed.

    Asked at every start too: a worker that waits for a partition would hear it only then.
    """
    require_definitions(pipeline, commit, wanted)
    commit.environment.check(this_environment(), f"the state of {pipeline.name}")


def require_definitions(
    pipeline: Declaration, commit: Commit, wanted: Collection[str] | None
) -> None:
    """Raise `DefinitionDiffers` unless the versions of a commit are declared as they were."""
    declared = pipeline.definitions()
    for name, version in commit.versions.items():
        given_up = name not in declared or (wanted is not None and name not in wanted)
        if given_up or version.definition == declared[name]:
            continue
        raise DefinitionDiffers(
            f"version {name} of {pipeline.name} is declared as {declared[name][:12]}, but the "
            f"log has outputs of {name} as {version.definition[:12]}: a version's definition "
            "(model, parameters, features, seed, monitors that reset) never changes.",
            attempt=f"declare {name} as it was, and the changed model beside it under a new "
            "version name, which stream-app backfill builds from the log",
        )


def require_unbroken(
    where: str, log_start: int, next_offset: int, backfill: str | None = None
) -> None:
    """Raise `LogUntrusted` when records from `next_offset` on are no longer in the log.

    `backfill` is the version that is built of them, None where it is the live lineage that lacks
    them.
    """
    if next_offset >= log_start:
        return
    way_back = "restore the state directory or the older part of the log from a backup"
    if backfill is None:
        raise LogUntrusted(
            f"the log of {where} begins at offset {log_start} now, but the state is only known up "
            f"to {next_offset}: the records between are gone.",
            attempt=way_back,
        )
    raise LogUntrusted(
        f"the log of {where} begins at offset {log_start} now, but {backfill} is only built up to "
        f"{next_offset}: the records between are gone.",
        attempt=f"{way_back}. Without one {backfill} cannot be built: stream-app run FILE goes on "
        "without it, and stream-app doctor FILE names a retention that takes events away",
    )


def _hosted(
    manifest: Manifest,
    partition: int,
    pipeline: Declaration,
    commit: Commit | None,
    wanted: Collection[str] | None,
) -> tuple[dict[str, VersionCommit], dict[str, int], dict[str, str]]:
    """Return (versions to host, those that left with their offset, those leaving now and why)."""
    declared = pipeline.definitions()
    origin = manifest.origins[partition]
    if commit is not None:
        require_fit(pipeline, commit, wanted)
    if commit is None:
        listed = {name: VersionCommit(d, origin, origin) for name, d in declared.items()}
        left: dict[str, int] = {}
    else:
        listed, left = dict(commit.versions), dict(commit.left)
    hosted, leaving = {}, {}
    for name, version in listed.items():
        if name not in declared or (wanted is not None and name not in wanted):
            left[name] = commit.next_offset if commit is not None else origin
            chosen = "it is not among the versions that this start was told to run"
            leaving[name] = chosen if name in declared else "the file no longer declares it"
            continue
        hosted[name] = version
    return hosted, left, leaving


def _position(
    manifest: Manifest,
    partition: int,
    saved: Position | None,
    hosted: Mapping[str, VersionCommit],
    committed: int,
) -> tuple[Position, str | None]:
    """Return the checkpoint's position, or the origin with the reason why."""
    if saved is None:
        return _origin(manifest, partition), "there is no checkpoint"
    where = f"{manifest.pipeline}/{partition}"
    require_own(manifest, partition, saved, committed)
    if saved.semantics != SEMANTICS:
        return _origin(manifest, partition), "the checkpoint has other semantics"
    saved.environment.check(this_environment(), f"the checkpoint of {where}")
    missing = sorted(hosted.keys() - saved.versions.keys())
    if missing:
        return _origin(manifest, partition), f"the checkpoint lacks {', '.join(missing)}"
    for name, version in hosted.items():
        if saved.versions[name] != version.definition:
            raise DefinitionDiffers(
                f"the checkpoint of {where} holds {name} as {saved.versions[name][:12]}, but the "
                f"log has outputs of {name} as {version.definition[:12]}.",
                attempt="name the log's own state directory with --state, or move this one away: "
                "the state is built again from the log",
            )
    return saved, None


def require_own(manifest: Manifest, partition: int, saved: Position, committed: int) -> None:
    """Raise `StateUntrusted` for a state of another log, pipeline or partition, or ahead of it."""
    where = f"{manifest.pipeline}/{partition}"
    if (saved.log_id, saved.pipeline, saved.partition) != (
        manifest.log_id,
        manifest.pipeline,
        partition,
    ):
        raise StateUntrusted(
            f"the state directory of {where} holds {saved.pipeline}/{saved.partition} of log "
            f"{saved.log_id}; this is log {manifest.log_id}.",
            attempt="name the log's own state directory with --state, or move this one away: "
            "the state is built again from the log",
        )
    if saved.next_offset > committed:
        raise StateUntrusted(
            f"the checkpoint of {where} is at {saved.next_offset}, ahead of the committed "
            f"position {committed}: the log was replaced by an older one.",
            attempt="put the right log back, or delete the state directory: it is built again",
        )


def _origin(manifest: Manifest, partition: int) -> Position:
    return Position(
        log_id=manifest.log_id,
        pipeline=manifest.pipeline,
        partition=partition,
        semantics=SEMANTICS,
        environment=this_environment(),
        next_offset=manifest.origins[partition],
        chain=Chain().state(),
        versions={},
        settings=manifest.settings,
        settings_since=manifest.origins[partition],
        controls=[],
    )


def check_settings(declared: Settings, in_force: Settings, pipeline: str) -> None:
    """Raise `SettingsDiffer`, showing every difference, unless the settings are equal."""
    rows = differences(in_force, declared)
    if rows:
        shown = "; ".join(f"{path}: the log has {old}, the file {new}" for path, old, new in rows)
        raise SettingsDiffer(
            f"the declaration of {pipeline} has other settings than its log: {shown}.",
            attempt="stream-app apply FILE to put them into force from now on, or undo the change",
        )
