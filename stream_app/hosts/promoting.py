"""Gives the seat to another version: by a record in the log, or where the log cannot go on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

import msgspec

from stream_app.core.authority import seat_control
from stream_app.core.commit import Commit, Manifest, decode_commit, encode_commit
from stream_app.core.log import Log
from stream_app.core.seats import REASON_CHARS_MAX, Seat, SeatChange
from stream_app.core.topics import Topics
from stream_app.errors import SeatRefused, UsageError
from stream_app.hosts.controls import append_promote, newest_order
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import commits, committed
from stream_app.hosts.prediction_search import published_at
from stream_app.hosts.signing_keys import signer_at, signer_here
from stream_app.hosts.state_directory import StateDirectory
from stream_app.near_names import no_version
from stream_app.outputs import DeadLetter

LOOK_EVERY_S = 0.1
NOT_BEGUN = "not begun"


class CutOver(msgspec.Struct, frozen=True):
    """What became of a promotion in one partition.

    From `since` on the version's predictions are the pipeline's, if `state` is "champion"; it may
    also be "not reached yet", or NOT_BEGUN: nothing was processed there, so nobody is stuck, and
    the ledger has no position to seat anybody at.
    """

    partition: int
    since: int
    state: str


def champions(log: Log, manifest: Manifest) -> list[str]:
    """Return each partition's champion as of its committed position."""
    found = commits(log, manifest)
    return [manifest.initial_champion if c is None else c.seat.champion for c in found]


def is_champion(log: Log, manifest: Manifest, version: str) -> bool:
    """Tell whether a version is champion everywhere, and no order in the log says otherwise."""
    if set(champions(log, manifest)) != {version}:
        return False
    order = newest_order(log, manifest.pipeline)
    if order is None or order.version == version:
        return True
    return all(
        commit is not None and any(change.control == order.id for change in commit.seats)
        for commit in commits(log, manifest)
    )


def require_promotable(log: Log, manifest: Manifest, version: str) -> None:
    """Raise `UsageError` unless every partition that has begun runs the version, and it is sound.

    All versions of a partition stand at one position, so one that is run is caught up. While no
    partition has begun nobody knows which versions will be run.
    """
    found = commits(log, manifest)
    if not any(found):
        raise UsageError(
            f"{manifest.pipeline} has processed nothing yet: it begins with "
            f"{manifest.initial_champion}, and runs no version that could take over",
            attempt="stream-app run FILE first, whose start hosts every declared version",
        )
    for partition, commit in enumerate(found):
        if commit is not None:
            _require_sound(log, manifest.pipeline, partition, commit, version)


def _require_sound(log: Log, name: str, partition: int, commit: Commit, version: str) -> None:
    where = f"{name}/{partition}"
    if version in commit.failed:
        raise UsageError(
            f"{version} cannot be champion of {where}, for it has failed there: "
            f"{commit.failed[version]}",
            attempt=f"stream-app dead-letters {name} --version {version} for the failed calls",
        )
    if version in (commit.waiting_for_file or []):
        raise UsageError(
            f"{version} cannot be champion of {where}, for it waits for its file there and "
            "predicts nothing",
            attempt=f"stream-app import FILE {version} MODEL, if that was not done; then promote "
            f"once stream-app status {name} shows that it waits no longer",
        )
    if version in commit.versions:
        return
    backfill = built(log, name, version, partition)
    if backfill is not None:
        raise UsageError(
            f"{where} does not run {version} yet: its backfill stands at {backfill.next_offset}, "
            f"and live at {commit.next_offset}",
            attempt="restart stream-app run, whose start joins it; then promote again",
        )
    raise no_version(
        version,
        where,
        commit.versions,
        attempt=f"one of those; or, if its file declares {version}, stream-app backfill FILE "
        f"{version}, then restart stream-app run",
    )


def promote(
    log: Log, manifest: Manifest, state: StateDirectory, version: str, reason: str, by: str | None
) -> list[tuple[int, int]]:
    """Append the signed order to every partition as one step; returns (partition, offset) places.

    Raises `UsageError` where `require_promotable` does.
    """
    require_promotable(log, manifest, version)
    signer = signer_here(log, manifest, state)
    return append_promote(log, manifest, signer, version, reason, by)


def cut_overs(
    log: Log,
    manifest: Manifest,
    version: str,
    places: Sequence[tuple[int, int]],
    *,
    wait_s: float,
    stopped: Callable[[], bool] = lambda: False,
) -> list[CutOver]:
    """Return what became of an order, waiting for those who are at work on its partitions.

    Raises `SeatRefused` where a partition has read it and not obeyed.
    """
    deadline = time.monotonic() + wait_s
    while True:
        rows = [_cut_over(log, manifest, version, *place) for place in places]
        waiting = any(row.state != "champion" for row in rows)
        if not waiting or stopped() or time.monotonic() > deadline:
            return rows
        time.sleep(LOOK_EVERY_S)


def _cut_over(log: Log, manifest: Manifest, version: str, partition: int, offset: int) -> CutOver:
    commit = committed(log, manifest.pipeline, partition)
    since = offset + 1
    if commit is None or commit.next_offset < since:
        return CutOver(partition, since, "not reached yet")
    _require_taken(log, manifest.pipeline, partition, offset)
    for change in commit.seats:
        if change.since == since and change.refused:
            raise SeatRefused(
                f"{manifest.pipeline}/{partition} did not make {version} its champion: "
                f"{change.refused}.",
                attempt=f"stream-app status {manifest.pipeline}; other partitions may have obeyed: "
                "promote what all of them run",
            )
        if change.since >= since:
            return CutOver(partition, since, "champion")
    if commit.seat.champion == version:
        return CutOver(partition, commit.seat.since, "champion")
    raise SeatRefused(
        f"{manifest.pipeline}/{partition} has read the order and not obeyed it: its worker is of "
        "a release that does not know it.",
        attempt="stop that worker, start one of this release, and promote again",
    )


def _require_taken(log: Log, name: str, partition: int, offset: int) -> None:
    """Raise `SeatRefused` where the fold made a dead letter of the order at an offset."""
    for row in published_at(log, Topics(name).dead_letters, partition, offset) or []:
        letter = msgspec.json.decode(row.value, type=DeadLetter)
        if letter.reason == "unknown_action":  # as releases say that know no orders
            continue
        attempt = f"stream-app dead-letters {name} shows it"
        if letter.reason in ("revoked_key", "unknown_key"):
            attempt = (
                f"stream-app keys {name} shows which keys are in force and here; then promote "
                "again, which signs with one of those"
            )
        raise SeatRefused(
            f"{name}/{partition} refused the order at {Topics(name).events}/{partition}@{offset}, "
            f"so nothing changed there: {letter.detail} ({letter.reason}).",
            attempt=attempt,
        )


def seat_at_committed(
    log: Log, manifest: Manifest, state: StateDirectory, version: str, reason: str, by: str | None
) -> list[CutOver]:
    """Make a version champion from every partition's committed position on, in the ledger.

    For a champion that is stuck: a record in the log would come after the one that it fails on.
    Fences whoever works on the partitions. One that has not begun is left as it is, and told: it
    begins with the first champion, and a promote record is what moves its seat. Raises `UsageError`
    where `require_promotable` does, and `LogBusy` while a process of this machine is at work there.
    """
    require_promotable(log, manifest, version)
    ledger, rows = Topics(manifest.pipeline).ledger, []
    for partition in range(manifest.partitions):
        claim = log.claim(ledger, partition)
        try:
            found = claim.committed()
            if found is None:
                rows.append(CutOver(partition, manifest.origins[partition], NOT_BEGUN))
                continue
            commit = decode_commit(found, f"{manifest.pipeline}/{partition}")
            if commit.seat.champion != version:
                _require_sound(log, manifest.pipeline, partition, commit, version)
                commit = _seated(manifest, state, partition, commit, version, reason, by)
                at = commit.next_offset
                claim.publish([], encode_commit(commit), expected=at, next_offset=at)
            rows.append(CutOver(partition, commit.seat.since, "champion"))
        finally:
            claim.release()
    return rows


def _seated(
    manifest: Manifest,
    state: StateDirectory,
    partition: int,
    commit: Commit,
    version: str,
    reason: str,
    by: str | None,
) -> Commit:
    """Return a commit with another champion from its position on, by a signed change of the seat.

    Raises `StateUntrusted` where no key is here that is in force there.
    """
    since = commit.next_offset
    change = SeatChange(
        since=since,
        champion=version,
        control=f"seat-{uuid.uuid4().hex[:12]}-{partition}@{since}",
        reason=reason[:REASON_CHARS_MAX],
        by=(by or "")[:REASON_CHARS_MAX],
        ts_ms=time.time_ns() // 1_000_000,
    )
    signer = signer_at(manifest, commit, state)
    sig = signer.signed(seat_control(change), manifest).sig
    change = msgspec.structs.replace(change, sig=sig or "")
    return msgspec.structs.replace(commit, seat=Seat(version, since), seats=[*commit.seats, change])
