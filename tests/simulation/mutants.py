"""The protocol, broken on purpose: each mutant drops or turns one decision that a promise rests on.

Every one has to be told from the real thing by some seed of the simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from stream_app.core import agreement, authority, processor, recovery
from stream_app.core.acceptance import Acceptance
from stream_app.core.authority import Authority, Keys
from stream_app.core.early_labels import EarlyLabels
from stream_app.core.identities import Identities
from stream_app.core.log_rules import require_current
from stream_app.core.models import Models
from stream_app.core.processor import PartitionProcessor
from stream_app.core.reporting import Reporting
from stream_app.core.sampled_digest import SampledDigest
from stream_app.core.table import Table
from stream_app.core.version import VersionFold
from stream_app.core.watermark import Watermark
from stream_app.events import Refusal
from stream_app.hosts import event_reading, lineage_start
from stream_app.hosts.lineage_start import LineageStart
from stream_app.hosts.partition_host import PartitionHost
from stream_app.learning.prequential import Prequential
from stream_app.learning.undo import UndoableModel
from stream_app.storage import memory_log
from tests.simulation.doubles import SimClaim, SimStore

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]
MUTANTS: dict[str, Mutant] = {}


def named(mutants: dict[str, Mutant]) -> Callable[[Mutant], Mutant]:
    """Return what puts a mutant among others, by its function's name."""

    def add(change: Mutant) -> Mutant:
        mutants[change.__name__.replace("_", " ")] = change
        return change

    return add


mutant = named(MUTANTS)


def after(patch: Patch, owner: Any, name: str, then: Callable[..., Any]) -> None:
    """Call the method, then `then(result, *its arguments)`, whose value is returned."""
    real = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kw: then(real(*args, **kw), *args, **kw))


def nothing(*_args: Any, **_kw: Any) -> None:
    """Do nothing in place of something."""
    return


# --- the order of steps ---------------------------------------------------------------------------


@mutant
def checkpoint_before_commit(patch: Patch) -> None:
    real = PartitionHost._live

    def live(self: Any, records: Any) -> None:
        process = self.processor.process

        def saved_at_once(records: Any) -> Any:
            batch = process(records)
            self._store.save(self.processor.image())
            self.processor.saved()
            return batch

        self.processor.process = saved_at_once
        try:
            real(self, records)
        finally:
            self.processor.process = process

    patch.setattr(PartitionHost, "_live", live)


@mutant
def image_taken_after_the_next_record(patch: Patch) -> None:
    real = PartitionHost.checkpoint

    def checkpoint(self: Any) -> None:
        if self._in_flight is None:
            real(self)
        else:
            self._held = (None, 0.0)

    def save(self: Any, image: Any, cost_s: float) -> None:
        if image is None:
            at = self.commit.next_offset
            image = self.processor.image()
            position = msgspec.structs.replace(self.processor.position(), next_offset=at)
            image.writes["position"][b"position"] = position.encode()
        real_save(self, image, cost_s)

    real_save = PartitionHost._save
    patch.setattr(PartitionHost, "checkpoint", checkpoint)
    patch.setattr(PartitionHost, "_save", save)


@mutant
def image_saved_while_its_batch_is_in_flight(patch: Patch) -> None:
    def checkpoint(self: Any) -> None:
        if self._changed:
            self._save(self.processor.image(), 0.0)

    patch.setattr(PartitionHost, "checkpoint", checkpoint)


@mutant
def position_and_outputs_in_two_transactions(patch: Patch) -> None:
    """Torn where a process may die: between two publishes of the double."""

    def torn(self: Any, outputs: Any, commit: bytes, *, expected: Any, next_offset: int) -> None:
        whole(self, [], commit, expected=expected, next_offset=next_offset)
        whole(self, outputs, commit, expected=next_offset, next_offset=next_offset)

    whole = SimClaim.publish
    patch.setattr(SimClaim, "publish", torn)


@mutant
def outputs_published_again_while_learning_again(patch: Patch) -> None:
    real = recovery.recover

    def recover(*args: Any, **kw: Any) -> Any:
        found = real(*args, **kw)
        start = msgspec.structs.replace(found.start, publish_from=found.start.position.next_offset)
        return msgspec.structs.replace(found, start=start)

    patch.setattr(lineage_start, "recover", recover)
    patch.setattr(PartitionHost, "_agree", nothing)


@mutant
def a_fenced_owner_may_publish(patch: Patch) -> None:
    def any_epoch(*place: Any, claimed: Any, standing: Any) -> None:
        require_current(*place, claimed=(standing[0], claimed[1]), standing=standing)

    patch.setattr(memory_log, "require_current", any_epoch)


@mutant
def nobody_is_fenced_and_any_position_is_taken(patch: Patch) -> None:
    patch.setattr(memory_log, "require_current", nothing)


@mutant
def the_next_batch_is_read_from_the_commit(patch: Patch) -> None:
    real = PartitionHost._read

    def read(self: Any, records_max: int, until: Any) -> Any:
        if self.commit is None or self.relearning:
            return real(self, records_max, until)
        events = self._topics.events
        return self._log.read(events, 0, self.commit.next_offset + 1, records_max=records_max)

    patch.setattr(PartitionHost, "_read", read)


# --- starts ---------------------------------------------------------------------------------------


@mutant
def a_checkpoint_ahead_of_the_commit_is_accepted(patch: Patch) -> None:
    real = recovery._position

    def position(manifest: Any, partition: int, saved: Any, hosted: Any, committed: int) -> Any:
        ahead = saved is not None and saved.next_offset > committed
        return (saved, None) if ahead else real(manifest, partition, saved, hosted, committed)

    patch.setattr(recovery, "_position", position)


@mutant
def a_missing_position_is_taken_as_zero(patch: Patch) -> None:
    patch.setattr(LineageStart, "require_position", nothing)


@mutant
def another_partitions_state_is_taken(patch: Patch) -> None:
    real = recovery._position

    def position(manifest: Any, partition: int, saved: Any, *rest: Any) -> Any:
        ours = saved and msgspec.structs.replace(saved, partition=partition)
        return real(manifest, partition, ours, *rest)

    patch.setattr(recovery, "_position", position)


@mutant
def the_chain_is_not_compared(patch: Patch) -> None:
    patch.setattr(PartitionHost, "_agree", nothing)


@mutant
def records_that_are_gone_are_passed_over(patch: Patch) -> None:
    patch.setattr(event_reading, "require_unbroken", nothing)
    patch.setattr(recovery, "require_unbroken", nothing)


@mutant
def a_rebuild_begins_on_top_of_the_old_state(patch: Patch) -> None:
    real = recovery._position

    def position(manifest: Any, partition: int, saved: Any, hosted: Any, committed: int) -> Any:
        if saved is not None and saved.next_offset < committed:
            return recovery._origin(manifest, partition), "as if it could not be used"
        return real(manifest, partition, saved, hosted, committed)

    patch.setattr(recovery, "_position", position)
    patch.setattr(PartitionHost, "_empty", nothing)


@mutant
def learning_again_ends_one_record_early(patch: Patch) -> None:
    real = PartitionHost._read

    def read(self: Any, records_max: int, until: Any) -> Any:
        records = real(self, records_max, until)
        if until is not None and records and records[-1].offset == until - 1 and len(records) > 1:
            self.processor.next_offset = records[1].offset
            return records[1:]
        return records

    patch.setattr(PartitionHost, "_read", read)
    patch.setattr(PartitionHost, "_agree", nothing)


# --- the fold -------------------------------------------------------------------------------------


@mutant
def train_before_test(patch: Patch) -> None:
    real = VersionFold.predict

    def predict(self: Any, seq: int, key: str, features: Any, schema: int, waits: bool) -> Any:
        if not waits and self.failed is None:
            self.models.get(key if self._keyed else "").model.learn_one(features, 0.5)
        return real(self, seq, key, features, schema, waits)

    patch.setattr(VersionFold, "predict", predict)


@mutant
def the_watermark_is_moved_by_a_dead_letter(patch: Patch) -> None:
    real = Acceptance.observe

    def observe(self: Any, admitted: Any, record: Any) -> Any:
        try:
            return real(self, admitted, record)
        except Refusal:
            self.pass_time(admitted.event.ts_ms)
            raise

    patch.setattr(Acceptance, "observe", observe)


@mutant
def a_dead_letter_is_not_counted_in_silence(patch: Patch) -> None:
    real = PartitionProcessor._apply

    def apply(self: Any, record: Any) -> None:
        try:
            real(self, record)
        except Refusal:
            self.acceptance.counters.dead_letters -= self._silent
            raise

    patch.setattr(PartitionProcessor, "_apply", apply)


@mutant
def a_controls_second_copy_acts_too(patch: Patch) -> None:
    real = PartitionProcessor._control

    def control(self: Any, event: Any, record: Any) -> None:
        self._controls.discard(event.id)
        real(self, event, record)

    patch.setattr(PartitionProcessor, "_control", control)


@mutant
def evaluation_windows_go_on_while_learning_again(patch: Patch) -> None:
    patch.setattr(Prequential, "start_window", _unless_silent(Prequential.start_window))
    real = PartitionProcessor._learn

    def learn(self: Any, joined: Any, record: Any, event: Any) -> None:
        _Silence.now = self._silent
        real(self, joined, record, event)
        _Silence.now = False

    patch.setattr(PartitionProcessor, "_learn", learn)


class _Silence:
    now = False


def _unless_silent(real: Any) -> Any:
    return lambda self: None if _Silence.now else real(self)


@mutant
def nothing_times_out_while_learning_again(patch: Patch) -> None:
    real = PartitionProcessor._apply

    def apply(self: Any, record: Any) -> None:
        pass_time = self.acceptance.pass_time
        if self._silent:
            self.acceptance.pass_time = lambda _ts_ms: ()
        try:
            real(self, record)
        finally:
            self.acceptance.pass_time = pass_time

    patch.setattr(PartitionProcessor, "_apply", apply)


@mutant
def the_record_that_failed_the_champion_is_published_too(patch: Patch) -> None:
    real = PartitionProcessor._champion_failed

    def champion_failed(self: Any, failed: Any, record: Any) -> Any:
        self._emitter.dead_letter(record, Refusal("failed", None, "the champion's last"))
        return real(self, failed, record)

    patch.setattr(PartitionProcessor, "_champion_failed", champion_failed)


@mutant
def a_failed_champion_goes_on(patch: Patch) -> None:
    real = PartitionProcessor._caused

    def caused(self: Any, *args: Any) -> None:
        with suppress(processor._ChampionFailed):
            real(self, *args)

    patch.setattr(PartitionProcessor, "_caused", caused)


@mutant
def an_unseen_id_is_found_one_too_long(patch: Patch) -> None:
    def find(self: Any, observation_id: str) -> Any:
        seq = self._seqs.get(observation_id)
        return None if seq is None or seq < self.next_seq - self.ids_max - 1 else seq

    patch.setattr(Identities, "find", find)


@mutant
def a_late_label_is_learned(patch: Patch) -> None:
    patch.setattr(Identities, "deadline", lambda _self, _seq: 1 << 62)


@mutant
def an_early_label_outlives_its_wait(patch: Patch) -> None:
    real = Acceptance._early_label

    def early_label(self: Any, event: Any, inline: Any) -> Any:
        now_ms, self.watermark.now_ms = self.watermark.now_ms, 0
        try:
            return real(self, event, inline)
        finally:
            self.watermark.now_ms = now_ms

    patch.setattr(Acceptance, "_early_label", early_label)


# --- undo -----------------------------------------------------------------------------------------


@mutant
def undo_forgets_predictions(patch: Patch) -> None:
    real = UndoableModel._undo

    def undo(self: Any) -> None:
        kept = [
            item
            for pair in zip(self._journal[::2], self._journal[1::2], strict=True)
            if not _is_prediction(pair[1])
            for item in pair
        ]
        self._journal[:] = kept
        real(self)

    patch.setattr(UndoableModel, "_undo", undo)


def _is_prediction(label: object) -> bool:
    return not isinstance(label, int | float | str)


@mutant
def a_failed_call_leaves_its_traces(patch: Patch) -> None:
    patch.setattr(UndoableModel, "_undo", nothing)


@mutant
def undo_goes_back_to_the_image_only(patch: Patch) -> None:
    patch.setattr(UndoableModel, "_undo", lambda self: self._load(self._image))


@mutant
def failures_in_a_row_are_never_forgiven(patch: Patch) -> None:
    real = VersionFold._fail

    def fail(self: Any, call: str, detail: str) -> None:
        self.failures_ever = getattr(self, "failures_ever", 0) + 1
        self._in_a_row[call] = self.failures_ever - 1
        real(self, call, detail)

    patch.setattr(VersionFold, "_fail", fail)


# --- what an image holds --------------------------------------------------------------------------


@mutant
def eviction_writes_early(patch: Patch) -> None:
    """The model's bytes are in the store before any image is: a crash leaves them there."""
    real = Models._evict

    def evict(self: Any, key: str) -> None:
        real(self, key)
        if key in self._evicted:
            learned, image = self._evicted[key]
            row = {b"m" + key.encode(): self._blob(key, learned, image)}
            store = self._reader
            store._families.setdefault(self._family, {}).update(row)
            store._disk.families.setdefault(self._family, {}).update(row)

    patch.setattr(Models, "_evict", evict)


@mutant
def an_evicted_model_is_forgotten(patch: Patch) -> None:
    after(patch, Models, "_evict", lambda _, self, key: self._evicted.pop(key, None))


@mutant
def deleted_rows_stay_in_the_store(patch: Patch) -> None:
    real = EarlyLabels.collect

    def collect(self: Any, writes: Any) -> None:
        self._gone.clear()
        real(self, writes)

    patch.setattr(EarlyLabels, "collect", collect)


@mutant
def rows_are_taken_for_saved_once_they_are_collected(patch: Patch) -> None:
    after(patch, Table, "collect", lambda _, self, _writes: self._unsaved.clear())
    real = Table.collect

    def collect(self: Any, writes: Any) -> None:
        real(self, writes)
        self._live.clear()

    patch.setattr(Table, "collect", collect)


@mutant
def the_counters_are_not_saved(patch: Patch) -> None:
    _without(patch, Acceptance, lambda state: (*state[:2], {**state[2], "records": 0}))


@mutant
def the_watermarks_window_is_not_saved(patch: Patch) -> None:
    patch.setattr(Watermark, "state", lambda self: [self.now_ms, []])


def _without(patch: Patch, owner: Any, change: Callable[[Any], Any]) -> None:
    def changed(_: None, _self: Any, writes: Any) -> None:
        state = msgspec.msgpack.decode(writes[b"s"])
        writes[b"s"] = msgspec.msgpack.encode(change(state))

    after(patch, owner, "collect", changed)


@mutant
def early_labels_are_not_saved(patch: Patch) -> None:
    patch.setattr(EarlyLabels, "collect", nothing)


@mutant
def failures_in_a_row_are_not_saved(patch: Patch) -> None:
    _without(patch, VersionFold, lambda s: (*s[:2], {"predict": 0, "learn": 0}, *s[3:]))


@mutant
def what_has_failed_is_not_saved(patch: Patch) -> None:
    _without(patch, VersionFold, lambda s: (*s[:3], None, *s[4:]))


@mutant
def feature_monitors_are_not_saved(patch: Patch) -> None:
    patch.setattr(Reporting, "collect", nothing)


@mutant
def metrics_are_not_saved(patch: Patch) -> None:
    def changed(_: None, self: Any, writes: Any) -> None:
        empty = Prequential(self.prequential._prototypes)
        watching = [
            empty.state(),
            [monitor.state() for monitor in self.monitors],
            [monitor.state() for monitor in self._resetting],
        ]
        blob = self.plan.pickles.dumps(watching)
        writes[b"r"] = self._seal.seal(self._context + b"r", blob)

    after(patch, VersionFold, "collect", changed)


@mutant
def controls_that_acted_are_not_saved(patch: Patch) -> None:
    after(
        patch,
        PartitionProcessor,
        "position",
        lambda found, _self: msgspec.structs.replace(found, controls=[]),
    )


@mutant
def keys_in_force_are_not_saved(patch: Patch) -> None:
    after(
        patch,
        PartitionProcessor,
        "position",
        lambda found, _self: msgspec.structs.replace(found, keys=None),
    )
    # As long as nobody compares them: how much later would it show?
    patch.setattr(agreement, "_require_keys", nothing)


@mutant
def keys_of_checkpoint_and_commit_are_not_compared_nor_revoked_ones_saved(patch: Patch) -> None:
    def forgetful(found: Any, _self: Any) -> Any:
        keys = found.keys and Keys(found.keys.in_force, {})
        return msgspec.structs.replace(found, keys=keys)

    after(patch, PartitionProcessor, "position", forgetful)
    patch.setattr(agreement, "_require_keys", nothing)


@mutant
def a_revoked_key_goes_on_signing(patch: Patch) -> None:
    real = Authority.check
    patch.setattr(
        Authority, "check", lambda self, event, row, acted: real(self, event, row, acted=True)
    )


@mutant
def the_last_key_can_be_revoked(patch: Patch) -> None:
    patch.setattr(authority, "_require_usable", nothing)


@mutant
def a_key_signs_its_own_control(patch: Patch) -> None:
    real = Authority.check

    def check(self: Any, event: Any, record: Any, *, acted: bool) -> None:
        before = self.changed
        if event.action == "key":
            with suppress(Refusal):
                self.change(event)
        try:
            real(self, event, record, acted=acted)
        finally:
            self.changed = before

    patch.setattr(Authority, "check", check)


@mutant
def settings_in_force_are_not_saved(patch: Patch) -> None:
    def first(found: Any, self: Any) -> Any:
        return msgspec.structs.replace(found, settings=self._manifest.settings)

    after(patch, PartitionProcessor, "position", first)


@mutant
def digests_of_changed_models_are_not_saved(patch: Patch) -> None:
    patch.setattr(SampledDigest, "collect", lambda self, _writes: self._unwritten.clear())


@mutant
def predictions_that_wait_are_not_saved(patch: Patch) -> None:
    real = VersionFold.collect

    def collect(self: Any, writes: Any) -> None:
        kept = self._waiting.collect
        self._waiting.collect = lambda unused: kept({})
        real(self, writes)
        self._waiting.collect = kept

    patch.setattr(VersionFold, "collect", collect)


@mutant
def an_image_of_a_family_is_torn(patch: Patch) -> None:
    real = SimStore.save

    def save(self: Any, image: Any) -> None:
        for family, rows in image.writes.items():
            part = msgspec.structs.replace(image, writes={family: rows})
            real(self, part)

    patch.setattr(SimStore, "save", save)
