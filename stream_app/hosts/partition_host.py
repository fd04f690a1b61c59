"""Carries out what one partition's processor decides: the order of steps that exactly-once is.

Start: fence the previous owner, read the committed position C, take the newest checkpoint K <= C,
learn [K, C) again in silence, compare the chain digest, go on live. Live: outputs and position in
one transaction, then the checkpoint. A crash between any two steps loses nothing.

With a `publisher` the next batch is learned while the last one commits, one commit in flight: an
image is taken before the next record is learned, and saved after its own batch has committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, Protocol

from stream_app.codec.blobs import BlobSeal
from stream_app.core.agreement import require_agreement
from stream_app.core.batch import Batch
from stream_app.core.commit import Commit, Manifest, decode_commit, encode_commit
from stream_app.core.joining import listing, take_family, with_version
from stream_app.core.log import Claim, Log
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import POSITION, Position, read_position
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import Recovery
from stream_app.core.store import Image, StateStore
from stream_app.core.topics import Topics
from stream_app.hosts.batch_size import BatchSize
from stream_app.hosts.blob_topic import BlobTopic
from stream_app.hosts.checkpoint_pace import Pace
from stream_app.hosts.checkpoints import verify_blobs
from stream_app.hosts.environments import carried
from stream_app.hosts.event_reading import read_events
from stream_app.hosts.lineage_start import LineageStart
from stream_app.hosts.work import Work
from stream_app.records import Record

RELEARN_MAX = 5000


class Store(StateStore, Protocol):
    """A state store that knows whether it came back older than it was left."""

    @property
    def rolled_back(self) -> bool:
        """Tell whether the newest image is an older one than was saved."""
        ...


class InFlight(NamedTuple):
    """A batch whose outputs and position are on their way into the log, and since when."""

    batch: Batch
    published: Future[None]
    began: float


class AtOnce(Executor):
    """Runs what it is given before it returns."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call, and return what came of it."""
        done: Future[Any] = Future()
        done.set_result(call(*args, **kwargs))
        return done


def nothing(_step: str) -> None:
    """Watch no steps."""


class Joining(Protocol):
    """Versions that are to be hosted from the committed position on."""

    def step(self, host: PartitionHost) -> bool:
        """Bring one of them nearer, or in; tells whether anything is left to do."""
        ...

    def close(self) -> None:
        """Let go of what is not joined yet."""
        ...


class PartitionHost:
    """One partition of the live lineage, or of a `backfill`'s, which builds that version.

    A backfill that begins puts out what events from `since` on cause; all before is learned, too.
    Any exception leaves it unusable: close it. `reached` is called with the name of every step as
    it is reached; crash tests die there. `work` is told of every batch, for operators. `joining`
    has the versions that come in once all is learned again.
    """

    def __init__(
        self,
        log: Log,
        pipeline: Pipeline,
        manifest: Manifest,
        partition: int,
        *,
        open_store: Callable[[], Store],
        seal: BlobSeal,
        versions: Collection[str] | None = None,
        reached: Callable[[str], None] = nothing,
        pace: Pace | None = None,
        memory: Memory = Memory(),  # noqa: B008 - frozen
        publisher: Executor | None = None,
        work: Work | None = None,
        backfill: str | None = None,
        since: int = 0,
    ) -> None:
        self.partition = partition
        self.work = work if work is not None else Work()
        self.joining: Joining | None = None
        self._pipeline = pipeline
        self._seal = seal
        self._lineage = LineageStart(log, pipeline, manifest, partition, backfill, since)
        self._log = log
        self._manifest = manifest
        self._topics = Topics(pipeline.name)
        self._reached = reached
        self._pace = pace if pace is not None else Pace()
        self._memory = memory
        self._changed = False
        self._publisher = publisher if publisher is not None else AtOnce()
        self._overlaps = publisher is not None
        self._batch_size = BatchSize()
        self._in_flight: InFlight | None = None
        self._held: tuple[Image, float] | None = None
        self.idle = False
        self._store: Store | None = None
        self._claim: Claim = log.claim(self._lineage.ledger, partition)
        try:
            reached("claimed")
            self._open(open_store, versions)
        except BaseException:
            self.close()
            raise

    def _open(self, open_store: Callable[[], Store], versions: Collection[str] | None) -> None:
        log, lineage = self._log, self._lineage
        found = self._claim.committed()
        self.commit: Commit | None = None
        if found is not None:
            self.commit = carried(log, self._manifest, decode_commit(found, lineage.where))
        self._published = lineage.published_by_live()
        self._store = open_store()
        self._reached("state opened")
        saved = read_position(self._store)
        if saved is not None:
            saved = carried(log, self._manifest, saved)
        start, end = log.bounds(self._topics.events, self.partition)
        lineage.require_position(
            self.commit, saved=saved is not None, published=self._published, end=end
        )
        recovery = lineage.recovery(self.commit, saved, start, self._published, versions)
        self._restore(recovery, saved)
        self.work.opened(
            self.next_offset, behind=self.relearning, rebuilt=self.recovery.rebuild is not None
        )
        if self.commit is not None and not self.relearning:
            # The checkpoint stands at C: what it was made of is compared all the same.
            self._agree()

    def live_position(self) -> int:
        """Return how far a backfill may go: to where the live lineage has committed.

        Raises `VersionHosted` once live has taken the version over, were it for a while only: what
        live has put out since is not for a backfill that was opened before to put out again.
        """
        live = self._lineage.live_position(self._published)
        return self.next_offset if live is None else live

    def _restore(self, recovery: Recovery, saved: Position | None) -> None:
        """Make the processor that goes on from `saved`, or from the origin."""
        assert self._store is not None  # noqa: S101 - nothing is restored once it is closed
        self.recovery = recovery
        if recovery.start.position is not saved:
            self._empty(self._store)
        self.processor = PartitionProcessor(
            self._manifest,
            self.partition,
            recovery.start,
            self._pipeline.plans(recovery.start.versions),
            self._store,
            seal=self._seal,
            known=self._pipeline.known,
            memory=self._memory,
            blobs=BlobTopic(self._log, self._pipeline.name),
        )
        self._reached("state restored")

    def _empty(self, store: Store) -> None:
        """Drop an image that is not to be used; its position first, for all else hangs on that."""
        for family in sorted(store.families(), key=lambda name: name != POSITION):
            store.drop(family)
            self._reached("family dropped")

    @property
    def next_offset(self) -> int:
        """First offset not yet processed."""
        return self.processor.next_offset

    @property
    def committed(self) -> int:
        """The committed position; below it everything is learned again in silence."""
        return self.recovery.start.committed

    @property
    def rolled_back(self) -> bool:
        """Whether the state came back older than it was left; the log makes up for it."""
        return self._store is not None and self._store.rolled_back

    @property
    def relearning(self) -> bool:
        """Whether records before the committed position are still to be learned again."""
        return self.next_offset < self.committed

    def step(self, records_max: int | None = None, until: int | None = None) -> int:
        """Process what the log has, at most to `until`; returns how many records that were.

        `idle` tells afterwards whether there was nothing. Raises what makes this process end;
        nothing of the step is published then.
        """
        if self.relearning:
            return self._relearn(records_max or RELEARN_MAX)
        if self.joining is not None:
            self._join(self.joining)
            return 0
        records = self._read(records_max or self._batch_size.records, until)
        self.idle = not records
        if not records:
            self._settle()
            if self._pace.due():
                self.checkpoint()
            return 0
        before = self.processor.acceptance.counters.records
        self._live(records)
        return self.processor.acceptance.counters.records - before

    def _join(self, joining: Joining) -> None:
        self.idle = False
        if not joining.step(self):
            joining.close()
            self.joining = None

    def adopt(self, version: str, built: PartitionHost) -> None:
        """Host a version from here on, as its backfill has built it up to this very position.

        The state goes first: what the commit does not list is not used, and taken anew at the next
        try.
        """
        assert self._store is not None  # noqa: S101 - it is open
        assert self.commit is not None  # noqa: S101 - what never began has all versions
        # An earlier try may have come as far as a position that lists it, and this state may come
        # back once the commit does so: no position may list a family that is in pieces.
        self._changed = True
        self.checkpoint()
        take_family(self._store, built.store, f"version.{version}", self.next_offset)
        self._reached("family taken")
        listed = built.recovery.start.versions[version]
        position = with_version(self.processor.position(), version, listed.definition)
        writes: dict[bytes, bytes | None] = {b"position": position.encode()}
        self._store.save(Image(self.next_offset, {POSITION: writes}))
        self._reached("version saved")
        commit = listing(self.commit, self.recovery.start, version, listed, built.processor)
        self._claim.publish(
            [], encode_commit(commit), expected=self.next_offset, next_offset=self.next_offset
        )
        self._reached("version joined")
        self.commit = commit
        start = self._log.bounds(self._topics.events, self.partition)[0]
        saved = read_position(self._store)
        self._restore(self._lineage.recovery(commit, saved, start, 0, commit.versions), saved)

    @property
    def store(self) -> Store:
        """The saved state, which only this host writes."""
        assert self._store is not None  # noqa: S101 - asked of an open host
        return self._store

    def require_whole(self) -> None:
        """Read all that is saved and open every sealed blob; raises `StateUntrusted`."""
        name = self._manifest.pipeline
        context = f"{self._manifest.log_id}/{name}/{self.partition}"
        verify_blobs(self.store, self.store.families(), self._seal, context)

    def _live(self, records: list[Record]) -> None:
        began = time.monotonic()
        batch = self.processor.process(records)
        self.work.learned(began)
        took_s = time.monotonic() - began
        self._pace.learned(took_s)
        self._batch_size.learned(len(records), took_s)
        self._settle()
        self._reached("before publish")
        began = time.monotonic()
        published = self._publisher.submit(
            self._claim.publish,
            batch.outputs,
            encode_commit(batch.commit),
            expected=None if self.commit is None else self.commit.next_offset,
            next_offset=batch.commit.next_offset,
        )
        self._in_flight = InFlight(batch, published, began)
        self._changed = True
        if batch.stop is not None or not self._overlaps:
            self._settle()
        self._checkpoint_if_due(batch)

    def _settle(self) -> None:
        """Wait until the batch in flight has committed, and save the image that waits for that."""
        if self._in_flight is None:
            return
        (batch, published, began), self._in_flight = self._in_flight, None
        published.result()
        self.work.committed(began, len(batch.outputs))
        self._reached("after publish")
        self.commit = batch.commit
        if batch.stop is not None:
            raise batch.stop
        if self._held is not None:
            (image, cost_s), self._held = self._held, None
            self._save(image, cost_s)

    def _relearn(self, records_max: int) -> int:
        """Learn a stretch of [K, C) again; the outputs are in the log already."""
        records = self._read(records_max, self.committed)
        if not records:
            # The log's own end, where holes or control markers may stand before C.
            self._agree()
            return 0
        began = time.monotonic()
        batch = self.processor.process(records)
        self.work.learned(began, records_again=len(records))
        self._reached("learned again")
        self._changed = True
        if batch.stop is not None:
            raise batch.stop
        if not self.relearning:
            self._agree()
        # A long rebuild goes on from here after a crash; the chain is still verified at C.
        self._checkpoint_if_due(batch)
        return len(records)

    def _agree(self) -> None:
        place = f"{self._topics.events}/{self.partition}"
        require_agreement(self.processor, self.recovery, self.commit, place)
        self._reached("chain verified")

    def _read(self, records_max: int, until: int | None) -> list[Record]:
        return read_events(
            self._log,
            self._manifest.pipeline,
            self.partition,
            self.processor.next_offset,
            records_max=records_max,
            until=until,
            backfill=self._lineage.backfill,
        )

    def _checkpoint_if_due(self, batch: Batch) -> None:
        if batch.image_due:
            self._reached("memory full")
        if batch.image_due or self._pace.due():
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the state as of `next_offset`, if it changed: once its batch has committed."""
        if not self._changed or self._store is None:
            return
        began = time.monotonic()
        image = self.processor.image()
        self._changed = False
        cost_s = time.monotonic() - began
        if self._in_flight is None:
            self._save(image, cost_s)
        else:
            self._held = (image, cost_s)

    def _save(self, image: Image, cost_s: float) -> None:
        assert self._store is not None  # noqa: S101 - nothing is saved once it is closed
        began = time.monotonic()
        self._reached("before save")
        self._store.save(image)
        self.processor.saved()
        self._reached("after save")
        self._pace.saved(cost_s + time.monotonic() - began, image.writes)
        self.work.saved(began - cost_s, image.next_offset)

    def finish(self) -> None:
        """Let what is in flight commit, and save the state: the end of an orderly run."""
        self._settle()
        self.checkpoint()

    def close(self) -> None:
        """Let go of state and claim; saves nothing."""
        if self._in_flight is not None:
            self._in_flight.published.exception()  # waits for it, whatever comes of it
        store, self._store = self._store, None
        joining, self.joining = self.joining, None
        try:
            if joining is not None:
                joining.close()
            if store is not None:
                store.close()
        finally:
            self._claim.release()
            self._publisher.shutdown()
