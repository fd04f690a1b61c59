"""Joins: at a start of the live lineage, versions come in that a backfill has built."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import msgspec

from stream_app.core.commit import Commit, decode_commit, require_built
from stream_app.core.joining import require_same_fold
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.errors import (
    LogUntrusted,
    OutOfResources,
    StateUnavailable,
    StreamAppError,
    lacking,
)
from stream_app.hosts.partition_host import PartitionHost

# A join holds the partition up while it learns what the backfill lacks: a few seconds' worth.
JOIN_RECORDS_MAX = 100_000
STEP_RECORDS = 1000

OpenBuilt = Callable[[str], PartitionHost]
_log = logging.getLogger("stream_app")


class Waits(msgspec.Struct, frozen=True):
    """A declared version that this start does not host, and why."""

    version: str
    why: str


def built(log: Log, pipeline: str, version: str, partition: int) -> Commit | None:
    """Return how far a version's backfill has come in a partition; None where there is none."""
    ledger = Topics(pipeline).ledger_of(version)
    # A lineage that was never begun has no topic of its own on Kafka.
    if log.keeps_ledgers_in_topics and ledger not in log.topics():
        return None
    found = log.ledger_get(ledger, partition, "commit")
    if found is None:
        return None
    commit = decode_commit(found, f"{pipeline}/{version}/{partition}")
    require_built(commit, version, f"{pipeline}/{partition}")
    return commit


def joinable(
    log: Log,
    pipeline: Pipeline,
    partition: int,
    live: Commit | None,
    wanted: Collection[str] | None,
) -> tuple[list[str], list[Waits]]:
    """Return the declared versions that can join here, and those that cannot with the reason."""
    ready, waits = list[str](), list[Waits]()
    if live is None:
        return ready, waits
    for name, definition in pipeline.definitions().items():
        if name in live.versions or (wanted is not None and name not in wanted):
            continue
        try:
            commit = built(log, pipeline.name, name, partition)
        except LogUntrusted as error:
            waits.append(_cannot_join(name, error))
            continue
        why = _why_not(name, definition, commit, live)
        if why is None:
            ready.append(name)
        else:
            waits.append(Waits(name, why))
    return ready, waits


def _cannot_join(name: str, error: BaseException) -> Waits:
    known = error if isinstance(error, StreamAppError) else lacking(error)
    if known is None:
        known = StreamAppError(
            f"unexpected {type(error).__name__}: {error}.",
            attempt=f"stream-app backfill FILE {name} --log-level debug, which shows where",
        )
    why = f"its backfill cannot join: {known.problem} The next start tries again; before that: "
    return Waits(name, why + known.attempt)


def _while_joining(name: str, error: Exception) -> Exception:
    """Return an error of the live state's disk or memory with one more way out, others as is."""
    known = error if isinstance(error, StateUnavailable) else lacking(error)
    if not isinstance(known, StateUnavailable | OutOfResources):
        return error
    return type(known)(
        f"{known.problem} That was while version {name} joined.",
        attempt=f"{known.attempt}; or stream-app run FILE --drop {name}, which goes on without it",
    )


def _why_not(name: str, definition: str, commit: Commit | None, live: Commit) -> str | None:
    if commit is None:
        if name in live.left:
            return (
                f"it left at offset {live.left[name]}; stream-app backfill FILE {name} builds it "
                "up to now, and the start after that joins it"
            )
        return f"stream-app backfill FILE {name} builds it, and the start after that joins it"
    if commit.next_offset < live.left.get(name, 0):
        return (
            f"it left at offset {live.left[name]}, and its backfill stands before that; stream-app "
            f"backfill FILE {name} builds it up to now, and the start after that joins it"
        )
    if commit.versions[name].definition != definition:
        return (
            f"its backfill has built another definition, {commit.versions[name].definition[:12]}; "
            "give the changed model a new version name"
        )
    behind = live.next_offset - commit.next_offset
    if behind > JOIN_RECORDS_MAX:
        return (
            f"its backfill is {behind:,} records behind, too far to be waited for; stream-app "
            f"backfill FILE {name} goes on with it"
        )
    return None


class BackfillJoins:
    """The joins of one partition, one after the other; a `Joining`.

    `open_built` opens a version's backfill, which is ours from then on. Whatever goes wrong with
    one, a want of memory and errors of its model too, leaves it to a later start and never stops
    the live lineage; `left_out` hears why. Only where the live state itself cannot be written is
    that the live lineage's error.
    """

    def __init__(
        self, names: Collection[str], open_built: OpenBuilt, left_out: Callable[[Waits], None]
    ) -> None:
        self._names = list(names)
        self._open_built = open_built
        self._left_out = left_out
        self._built: PartitionHost | None = None

    def step(self, host: PartitionHost) -> bool:
        """Bring the next version nearer, or in; tells whether anything is left to do."""
        if not self._names:
            return False
        try:
            ready = self._bring_nearer(host)
        except (Exception, GeneratorExit) as error:  # whatever a model may raise
            _log.debug("join_failed", exc_info=error)
            self._left_out(_cannot_join(self._names.pop(0), error))
            self.close()
            return bool(self._names)
        if ready is not None:
            self._adopt(host, ready)
        return bool(self._names)

    def _adopt(self, host: PartitionHost, ready: PartitionHost) -> None:
        """Let the host have it; its own state is written here, so what fails ends the host."""
        name = self._names.pop(0)
        try:
            host.adopt(name, ready)
        except Exception as error:
            named = _while_joining(name, error)
            if named is error:
                raise
            raise named from error
        self.close()

    def _bring_nearer(self, host: PartitionHost) -> PartitionHost | None:
        """Return the next backfill once it stands, saved, where the host does."""
        name = self._names[0]
        if self._built is None:
            self._built = self._open_built(name)
            _require_near(host, self._built, name)
        backfill = self._built
        if backfill.relearning or backfill.next_offset < host.next_offset:
            backfill.step(STEP_RECORDS, until=host.next_offset)
            if backfill.relearning or not backfill.idle:
                return None
        backfill.finish()
        require_same_fold(host.processor, backfill.processor, name)
        backfill.require_whole()
        return backfill

    def close(self) -> None:
        """Let go of what is not joined yet; never raises, for what it had saved stands."""
        backfill, self._built = self._built, None
        if backfill is None:
            return
        try:
            backfill.close()
        except Exception as error:
            _log.warning("backfill_not_closed", extra={"fields": {"problem": str(error)}})


def _require_near(live: PartitionHost, built: PartitionHost, name: str) -> None:
    """Raise unless what is saved here of a backfill, not only its ledger, is near."""
    lacks = live.next_offset - built.processor.next_offset
    if lacks > JOIN_RECORDS_MAX:
        raise StateUnavailable(
            f"its state that is saved here is {lacks:,} records behind.",
            attempt=f"stream-app backfill FILE {name}, which learns them again beside live",
        )


def prepare_joins(
    host: PartitionHost,
    log: Log,
    pipeline: Pipeline,
    wanted: Collection[str] | None,
    open_built: OpenBuilt,
    left_out: Callable[[Waits], None],
) -> None:
    """Let a partition's host join what can join; `left_out` hears of what cannot, and why."""
    ready, waits = joinable(log, pipeline, host.partition, host.commit, wanted)
    for row in waits:
        left_out(row)
    if ready:
        host.joining = BackfillJoins(ready, open_built, left_out)
