"""One partition's fold: records in; outputs, a commit record and sometimes an image out.

It decides and never does: no clock, no log, and of the disk only what was saved is read, through
`StateReader`. A host publishes outputs and commit as one atomic transaction, and saves the image
after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from stream_app.codec.blobs import BlobSeal
from stream_app.codec.incoming import Admitted, IncomingControl, IncomingLabel
from stream_app.core.acceptance import FAMILY, Acceptance
from stream_app.core.accepted import Joined
from stream_app.core.authority import Authority
from stream_app.core.batch import Batch, Start
from stream_app.core.chain import Chain
from stream_app.core.commit import SEMANTICS, Commit, Manifest
from stream_app.core.controls import file_ordered, require_fixed, require_form
from stream_app.core.emitter import Emitter, label_counts
from stream_app.core.environment import this_environment
from stream_app.core.importing import Blobs, NoBlobs, opened
from stream_app.core.memory import Memory
from stream_app.core.placement import Placement
from stream_app.core.position import POSITION, Position
from stream_app.core.reporting import Reporting
from stream_app.core.seat_turns import SeatTurns
from stream_app.core.settings import read_settings
from stream_app.core.store import Image, StateReader
from stream_app.core.version import VersionFold
from stream_app.core.version_plan import VersionPlan
from stream_app.errors import SettingsDiffer, StreamAppError, VersionFailed
from stream_app.events import Refusal
from stream_app.learning.definition import OtherCode
from stream_app.learning.later import nothing_amiss
from stream_app.outputs import Evaluation
from stream_app.records import Record, format_position

LOOK_EVERY: Final = 0xFF  # a mask: once in 256 records


class PartitionProcessor:
    """The fold of one partition. Any exception that leaves `process` poisons it for good."""

    def __init__(
        self,
        manifest: Manifest,
        partition: int,
        start: Start,
        plans: Sequence[VersionPlan],
        reader: StateReader,
        *,
        seal: BlobSeal,
        known: Mapping[str, object],
        memory: Memory = Memory(),  # noqa: B008 - frozen
        blobs: Blobs = NoBlobs(),  # noqa: B008 - has no state
    ) -> None:
        self._blobs = blobs
        self._manifest = manifest
        self._memory = memory
        self._partition = partition
        self._start = start
        self._poisoned = False
        self._silent = False
        self.next_offset = start.position.next_offset
        self._chain = Chain(*start.position.chain)
        self._settings = read_settings(start.position.settings)
        self._settings_since = start.position.settings_since
        self._controls = set(start.position.controls)
        self._imports = dict(start.position.imports)
        self.authority = Authority(
            manifest.pipeline, manifest.log_id, manifest.public_keys, start.position.keys
        )
        self._speaks = not start.backfill  # for acceptance, too
        self._emitter = Emitter(manifest.pipeline, partition, start.seat.champion)
        self._turns = SeatTurns(manifest.pipeline, partition, start, self.authority)
        self._seated()
        self.acceptance = Acceptance.load(self._settings.acceptance, self._settings_since, reader)
        context = f"{manifest.log_id}/{manifest.pipeline}/{partition}"
        self._reporting = Reporting(known, seal, context)
        self._reporting.change(self._settings.reporting)
        self._reporting.load(reader)
        self.versions = [self._fold(plan, reader, seal, context) for plan in plans]
        self._digest_every = self._settings.reporting.digest_every
        self._evaluate_every = self._settings.reporting.evaluate_every
        self._placement = Placement(partition, manifest.partitions)

    def _fold(
        self, plan: VersionPlan, reader: StateReader, seal: BlobSeal, context: str
    ) -> VersionFold:
        fold = VersionFold(
            plan,
            reader,
            seal=seal,
            context=context,
            reporting=self._reporting.prequential(),
            monitors=self._reporting.error_monitors(),
            memory=self._memory,
        )
        fold.change(self._settings, self._settings_since)
        fold.load(reader)
        return fold

    def process(self, records: Sequence[Record]) -> Batch:
        """Fold records, which follow each other and `next_offset`, into the state."""
        self._require_sound()
        try:
            if records and records[0].offset >= self._turn:  # there may be a hole before it
                self._turns.take(records[0].offset, self.next_offset)
                self._seated()
            with nothing_amiss():
                stop = self._fold_records(records)
            return self._batch(stop)
        except BaseException:
            self._poisoned = True
            raise

    def image(self) -> Image:
        """Return all that changed since the last image, as of `next_offset`.

        To be saved once the batch before it has committed, and then told by `saved`; the next
        batch may be processed meanwhile.
        """
        self._require_sound()
        try:
            return self._image()
        except BaseException:
            self._poisoned = True
            raise

    def _require_sound(self) -> None:
        if self._poisoned:
            raise RuntimeError("this processor has raised before; its state is not to be trusted")

    def _fold_records(self, records: Sequence[Record]) -> StreamAppError | None:
        counters = self.acceptance.counters
        outputs = self._emitter.outputs
        apply, add_to_chain = self._apply, self._chain.add
        publish_from = self._start.publish_from
        for record in records:
            offset = record.offset
            if offset < self.next_offset:
                continue
            if offset >= self._turn:
                break
            published = len(outputs)
            self._silent = offset < publish_from
            records_seen = counters.records + 1
            counters.records = records_seen
            try:
                apply(record)
            except Refusal as refusal:
                counters.dead_letters += 1
                if self._speaks and not self._silent:
                    self._emitter.dead_letter(record, refusal)
            except _ChampionFailed as failed:
                # The record that failed it stays uncommitted, so a restart meets it again.
                del outputs[published:]
                counters.records -= 1
                self._poisoned = True
                return self._champion_failed(failed, record)
            add_to_chain(record)
            if records_seen % self._digest_every == 0:
                self._state_digests(record)
            self.next_offset = offset + 1
            # Looked at now and then: how much a batch may put into memory before it ends.
            if not records_seen & LOOK_EVERY and self._changes() > self._memory.changes_max:
                break
        return None

    def _changes(self) -> int:
        """Return how much a checkpoint would write."""
        return self.acceptance.changes() + sum(version.changes() for version in self.versions)

    def _apply(self, record: Record) -> None:
        acceptance = self.acceptance
        admitted = acceptance.gate.decode(record)
        event: Any = admitted.event
        kind = type(event)
        if kind is IncomingControl:
            self._control(event, record)
            return
        self._placement.check(admitted.key, record, acceptance.counters)
        if kind is IncomingLabel:
            joined = acceptance.label(admitted, record)
            if joined is not None:
                self._learn(joined, record, event)
        else:
            self._observation(admitted, event, record)
        for seq in acceptance.pass_time(event.ts_ms):
            self._forget(seq)

    def _observation(self, admitted: Admitted, event: Any, record: Record) -> None:
        seq, label, delay_ms = self.acceptance.observe(admitted, record)
        key, features, schema = admitted.key, admitted.features, admitted.schema
        waits = label is None
        silent = self._silent
        for version in self.versions:
            said = version.predict(seq, key, features, schema, waits)
            if not silent:
                self._emitter.prediction(version, record, event, key, said)
            if version.failures or version.fired:
                self._caused(version, record, event, event.id)
        if self._reporting.watches_features:
            for fired in self._reporting.watch(features):
                if self._speaks and not silent:
                    self._emitter.drift_alert(record, event, fired, None)
        if label is None:
            return
        self._learn(Joined(seq, event.id, key, features, schema, label, delay_ms), record, event)

    def _learn(self, joined: Joined, record: Record, event: Any) -> None:
        """Let every version learn an example; publish what that caused, and what is due."""
        for version in self.versions:
            version.learn(joined)
            if version.failures or version.fired:
                self._caused(version, record, event, joined.observation_id)
            if version.prequential.window_examples < self._evaluate_every:
                continue
            if self._silent:
                version.prequential.start_window()
            else:
                self._emitter.evaluation(version, record, event, self.labels())

    def _caused(
        self, version: VersionFold, record: Record, event: Any, observation_id: str
    ) -> None:
        if not self._silent:
            for failure in version.failures:
                self._emitter.failure(version, record, event, observation_id, failure)
            for fired in version.fired:
                self._emitter.drift_alert(record, event, fired, version.name)
        version.failures.clear()
        version.fired.clear()
        if version.failed is not None and version.name == self._turns.seat.champion:
            raise _ChampionFailed(version)

    def _champion_failed(self, failed: _ChampionFailed, record: Record) -> StreamAppError:
        version = failed.version
        where = format_position(record.topic, record.partition, record.offset)
        return VersionFailed(
            f"version {version.name} of {self._manifest.pipeline}, the champion, failed at "
            f"{where}: "
            f"{version.failed}. Everything before that record is published.",
            attempt=f"stream-app dead-letters {self._manifest.pipeline} --version {version.name} "
            "for the failed calls before this one. A start meets the record again: if the cause "
            "lies outside of the model, repair that first; else stream-app promote "
            f"{self._manifest.pipeline} VERSION --from-committed --reason ... makes another "
            "version champion from that record on",
        )

    def _forget(self, seq: int) -> None:
        for version in self.versions:
            version.forget(seq)

    def _control(self, event: IncomingControl, record: Record) -> None:
        acted = event.id in self._controls
        self.authority.check(event, record, acted=acted)
        if acted:
            return
        require_form(event)
        if event.action == "settings":
            self._change_settings(event, record)
        elif event.action == "time":
            for seq in self.acceptance.set_time(event.ts_ms):
                self._forget(seq)
        elif event.action == "key":
            self.authority.change(event)
        elif event.action == "promote":
            self._turns.promote(event, record, self._unfit)
            self._turn = self._turns.next_turn
        elif event.action == "import":
            self._begin(event, record)
        # By an accepted environment hosts go before anything is folded.
        self._controls.add(event.id)
        self.acceptance.counters.controls += 1

    def _begin(self, event: IncomingControl, record: Record) -> None:
        """Let a version begin from a file; one that is not here, or has begun, makes nothing of it.

        So who runs what decides nothing for others, and no second order changes what was learned.
        """
        for version in self.versions:
            if version.name != event.version or not version.waits_for_file:
                continue
            order = file_ordered(event)
            header, entries = opened(self._blobs.read(order), f"the file {order.sha256[:12]}")
            if header.keyed:
                entries = [entry for entry in entries if self._placement.is_here(entry.key)]
            version.begin(order, header, entries)
            if version.failed is not None and version.name == self._turns.seat.champion:
                raise _ChampionFailed(version)
        self._imports.setdefault(event.version or "", record.offset)

    def _unfit(self, name: str) -> str:
        """Say why a version cannot be champion here; empty when it can."""
        for version in self.versions:
            if version.name == name:
                return "" if version.failed is None else f"it has failed: {version.failed}"[:200]
        return "this partition does not run it"

    def _seated(self) -> None:
        self._turn = self._turns.next_turn
        self._emitter.seat(self._turns.seat.champion)

    def _change_settings(self, event: IncomingControl, record: Record) -> None:
        try:
            settings = read_settings(event.settings)
            require_fixed(self._settings, settings)
            self._reporting.change(settings.reporting)
        except OtherCode as error:
            # A dead letter here would depend on this process's file: replay would differ.
            raise _not_this_file(record, error) from None
        except (msgspec.MsgspecError, StreamAppError, TypeError, ValueError) as error:
            raise Refusal("bad_settings", "settings", str(error)[:300]) from None
        self._settings = settings
        self._settings_since = record.offset + 1
        self.acceptance.change(settings.acceptance, self._settings_since)
        self._digest_every = settings.reporting.digest_every
        self._evaluate_every = settings.reporting.evaluate_every
        for version in self.versions:
            version.prequential = self._reporting.prequential()
            version.monitors = self._reporting.error_monitors()
            version.change(settings, self._settings_since)

    @property
    def chain(self) -> bytes:
        """The chain digest over all records before `next_offset`."""
        return self._chain.digest()

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Every version's newest evaluation, of those that this processor put out."""
        return self._emitter.evaluations

    @property
    def feature_monitors(self) -> Sequence[Any]:
        """The alert-only monitors of features; for reading."""
        return self._reporting.feature_monitors

    def labels(self) -> Any:
        """Return what became of the labels so far."""
        acceptance = self.acceptance
        return label_counts(acceptance.counters, acceptance.ids.waiting, len(acceptance.early))

    def accepted_digest(self) -> bytes:
        """Return the digest of what was accepted, and of who may order what by now."""
        return self.authority.covered(self.acceptance.digest())

    def _state_digests(self, record: Record) -> None:
        if self._silent:
            return
        ts_ms = record.timestamp_ms
        emit = self._emitter.state_digest
        if self._speaks:
            emit(record, ts_ms, self.chain, self.accepted_digest(), None)
        for version in self.versions:
            emit(record, ts_ms, self.chain, version.digest(), version.name)

    def _batch(self, stop: StreamAppError | None) -> Batch:
        for version in self.versions:
            version.models.trim()
        outputs = self._emitter.outputs
        self._emitter.outputs = []
        if self.next_offset >= self._turn:
            self._turns.take(self.next_offset, self.next_offset)
            self._seated()
        return Batch(outputs, self._commit(), self._changes() > self._memory.changes_max, stop)

    def _commit(self) -> Commit:
        acceptance, start = self.acceptance, self._start
        return Commit(
            next_offset=self.next_offset,
            chain=self.chain.hex(),
            semantics=SEMANTICS,
            environment=this_environment(),
            seat=self._turns.seat,
            versions=dict(start.versions),
            left=dict(start.left),
            settings=self._settings.plain(),
            settings_since=self._settings_since,
            watermark_ms=acceptance.watermark.now_ms,
            waiting=acceptance.ids.waiting,
            early_waiting=len(acceptance.early),
            counters=msgspec.to_builtins(acceptance.counters),
            learned={version.name: version.learned for version in self.versions},
            failed={v.name: v.failed for v in self.versions if v.failed is not None},
            undeclared=dict(acceptance.undeclared.seen),
            keys=self.authority.changed or UNSET,
            seats=self._turns.changes(),
            left_definitions=dict(start.left_definitions),
            waiting_for_file=sorted(v.name for v in self.versions if v.waits_for_file) or UNSET,
            imports=dict(self._imports) or UNSET,
        )

    def _image(self) -> Image:
        writes: dict[str, dict[bytes, bytes | None]] = {FAMILY: {}, POSITION: {}}
        self.acceptance.collect(writes[FAMILY])
        self._reporting.collect(writes[FAMILY])
        for version in self.versions:
            version.collect(writes.setdefault(version.family, {}))
        writes[POSITION][b"position"] = self.position().encode()
        return Image(self.next_offset, writes)

    def position(self) -> Position:
        """Return where the state stands, as a checkpoint keeps it."""
        return Position(
            log_id=self._manifest.log_id,
            pipeline=self._manifest.pipeline,
            partition=self._partition,
            semantics=SEMANTICS,
            environment=this_environment(),
            next_offset=self.next_offset,
            chain=self._chain.state(),
            versions={version.name: version.plan.definition for version in self.versions},
            settings=self._settings.plain(),
            settings_since=self._settings_since,
            controls=sorted(self._controls),
            keys=self.authority.changed,
            orders=list(self._turns.orders),
            imports=dict(self._imports),
        )

    def saved(self) -> None:
        """Take note that the last image is in the store."""
        self.acceptance.saved()
        for version in self.versions:
            version.saved()


def _not_this_file(record: Record, error: OtherCode) -> SettingsDiffer:
    where = format_position(record.topic, record.partition, record.offset)
    return SettingsDiffer(
        f"the settings that {where} puts into force need code that this process was not started "
        f"with: {error.problem}",
        attempt="start again with the file that was applied; if that code is gone from it, "
        "put it back as it was",
    )


class _ChampionFailed(Exception):
    """The champion's version failed for good on the record at hand."""

    def __init__(self, version: VersionFold) -> None:
        super().__init__(version.name)
        self.version = version
