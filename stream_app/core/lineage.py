"""Which versions a start hosts: one that leaves a lineage comes back only by a backfill."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stream_app.core.commit import Commit
from stream_app.core.declaration import Declaration
from stream_app.errors import UsageError
from stream_app.near_names import no_version


def versions_to_host(
    pipeline: Declaration,
    commits: Sequence[Commit],
    only: Collection[str] | None,
    drop: Collection[str],
) -> tuple[str, ...] | None:
    """Return the names to host out of the declared ones, None for all that may be.

    `commits` are those that the partitions have, `only` and `drop` what a person asked for. Raises
    `UsageError` where a version that runs would end merely because `only` does not say its name:
    the way back is a backfill, so it has to be asked for.
    """
    declared = pipeline.definitions()
    running = {name for commit in commits for name in commit.versions}
    known = {*declared, *running, *(name for commit in commits for name in commit.left)}
    _require_known("--version", only or (), declared, pipeline.name)
    _require_known("--drop", drop, known, pipeline.name)
    for name in drop:
        if name in (only or ()):
            raise UsageError(
                f"--version {name} and --drop {name} contradict each other", attempt="one of them"
            )
    champions = {commit.seat.champion for commit in commits} or {pipeline.initial_champion}
    _require_champions(pipeline.name, champions, only, drop)
    if only is not None:
        ending = sorted((running & declared.keys()) - {*only} - {*drop})
        if ending:
            raise UsageError(
                f"--version leaves out {', '.join(ending)}, part of what {pipeline.name} runs: a "
                "version that leaves comes back only by a backfill",
                attempt="without --version all run on; to end one: "
                + " ".join(f"--drop {name}" for name in ending),
            )
    elif not drop:
        return None
    return tuple(name for name in (only or declared) if name not in drop)


def _require_known(
    option: str, names: Collection[str], known: Collection[str], pipeline: str
) -> None:
    for name in names:
        if name not in known:
            raise no_version(name, f"{option} {name}: {pipeline}", known)


def _require_champions(
    pipeline: str, champions: Collection[str], only: Collection[str] | None, drop: Collection[str]
) -> None:
    for name in sorted(champions):
        if name in drop:
            raise UsageError(
                f"--drop {name}: it is the champion of {pipeline}, whose predictions are the ones "
                "that downstream reads",
                attempt=f"stream-app promote {pipeline} VERSION --reason ... first; then {name} "
                "can be dropped",
            )
        if only is not None and name not in only:
            raise UsageError(
                f"--version leaves out {name}, the champion of {pipeline}",
                attempt=f"--version {name} as well: its predictions are what downstream reads",
            )
