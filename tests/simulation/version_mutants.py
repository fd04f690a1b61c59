"""The rules of versions, backfills and the seat, broken on purpose; `MUTANTS` has all there are."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from stream_app.core import processor, recovery
from stream_app.core import version as version_fold
from stream_app.core.authority import Authority
from stream_app.core.commit import VersionCommit, encode_commit
from stream_app.core.controls import file_ordered, require_form
from stream_app.core.emitter import Emitter
from stream_app.core.environment import Environment, this_environment
from stream_app.core.importing import opened
from stream_app.core.joining import listing, take_family, with_version
from stream_app.core.models import Models
from stream_app.core.position import POSITION, Position, read_position
from stream_app.core.processor import PartitionProcessor, _ChampionFailed
from stream_app.core.seat_turns import SeatTurns
from stream_app.core.seats import Seat, Seats
from stream_app.core.store import Image
from stream_app.core.version import VersionFold
from stream_app.events import Refusal
from stream_app.hosts import environments, lineage_start, partition_host
from stream_app.hosts.joining import BackfillJoins
from stream_app.hosts.lineage_start import LineageStart
from stream_app.hosts.manifests import committed
from stream_app.hosts.partition_host import PartitionHost
from tests.simulation.installed import FIRST, environment_with
from tests.simulation.mutants import MUTANTS as FOLD_MUTANTS
from tests.simulation.mutants import Mutant, Patch, after, named, nothing

VERSION_MUTANTS: dict[str, Mutant] = {}
mutant = named(VERSION_MUTANTS)

# --- the seat -------------------------------------------------------------------------------------


def _moved(patch: Patch, by: int) -> None:
    real = Seats.change

    def change(self: Any, change: Any) -> None:
        real(self, msgspec.structs.replace(change, since=change.since + by))

    patch.setattr(Seats, "change", change)


@mutant
def the_seat_changes_one_record_early(patch: Patch) -> None:
    _moved(patch, -1)


@mutant
def the_seat_changes_one_record_late(patch: Patch) -> None:
    _moved(patch, 1)


@mutant
def what_a_champion_says_goes_where_it_went_at_the_start(patch: Patch) -> None:
    patch.setattr(Emitter, "seat", nothing)


@mutant
def a_promote_acts_again_in_silence(patch: Patch) -> None:
    def undecided(_: None, self: Any, *_rest: Any) -> None:
        self.decided = 0

    after(patch, Seats, "__init__", undecided)


@mutant
def a_promote_that_is_to_be_refused_acts(patch: Patch) -> None:
    patch.setattr(PartitionProcessor, "_unfit", lambda _self, _name: "")


@mutant
def the_seat_of_a_restart_is_the_files(patch: Patch) -> None:
    def first(found: Any, manifest: Any, partition: int, pipeline: Any, *_rest: Any) -> Any:
        seat = Seat(pipeline.initial_champion, manifest.origins[partition])
        start = msgspec.structs.replace(found.start, seat=seat, seats=())
        return msgspec.structs.replace(found, start=start)

    after(patch, lineage_start, "recover", first)


@mutant
def the_history_of_the_seat_is_not_committed(patch: Patch) -> None:
    def forgetful(found: Any, _self: Any) -> Any:
        return msgspec.structs.replace(found, seats=[])

    after(patch, PartitionProcessor, "_commit", forgetful)


@mutant
def nobody_needs_to_have_ordered_a_seat(patch: Patch) -> None:
    patch.setattr(SeatTurns, "_is_ordered", lambda *_: True)


@mutant
def an_order_for_one_place_is_good_for_another(patch: Patch) -> None:
    real = Authority.ordered

    def ordered(self: Any, change: Any, partition: int, *, here: bool) -> bool:
        at = int(change.control.rpartition("@")[2])
        return real(self, msgspec.structs.replace(change, since=at), partition, here=here)

    patch.setattr(Authority, "ordered", ordered)


@mutant
def a_revoked_key_seats_as_it_ever_did(patch: Patch) -> None:
    real = Authority.ordered

    def ordered(self: Any, change: Any, partition: int, *, here: bool) -> bool:
        return real(self, change, partition, here=False)

    patch.setattr(Authority, "ordered", ordered)


@mutant
def who_was_champion_at_first_stops_production(patch: Patch) -> None:
    real = PartitionProcessor._caused

    def caused(self: Any, version: Any, *args: Any) -> None:
        with suppress(_ChampionFailed):
            real(self, version, *args)
        if version.failed is not None and version.name == self._manifest.initial_champion:
            raise _ChampionFailed(version)

    patch.setattr(PartitionProcessor, "_caused", caused)


# --- backfills ------------------------------------------------------------------------------------


@mutant
def a_backfill_speaks_for_acceptance(patch: Patch) -> None:
    def speaks(_: None, self: Any, *_rest: Any, **_more: Any) -> None:
        self._speaks = True

    after(patch, PartitionProcessor, "__init__", speaks)


@mutant
def a_backfill_goes_beyond_live(patch: Patch) -> None:
    def end(_: int, self: Any) -> int:
        found: int = self._log.bounds(self._topics.events, 0)[1]
        return found

    after(patch, PartitionHost, "live_position", end)


@mutant
def a_backfill_goes_on_although_its_version_has_joined(patch: Patch) -> None:
    def position(self: Any) -> int:
        live = committed(self._log, self._manifest.pipeline, 0)
        return 0 if live is None else live.next_offset

    patch.setattr(PartitionHost, "live_position", position)


@mutant
def a_backfill_puts_out_again_what_live_did(patch: Patch) -> None:
    real: Any = recovery.recover_backfill

    def recover(*args: Any, **kw: Any) -> Any:
        found = real(*args, **kw)
        start = msgspec.structs.replace(found.start, publish_from=found.start.committed)
        return msgspec.structs.replace(found, start=start)

    patch.setattr(lineage_start, "recover_backfill", recover)


def _beginning(patch: Patch, at: Any) -> None:
    """Let a backfill begin to put out at another offset; `at` is told all that decides it."""
    real: Any = recovery.recover_backfill

    def recover(*args: Any) -> Any:
        commit, published, since = args[4], args[7], args[8]
        found = real(*args).start
        [(name, version)] = found.versions.items()
        first = at(version.published_from, commit, published, since)
        versions = {name: msgspec.structs.replace(version, published_from=first)}
        out = max(found.committed, published, first)
        start = msgspec.structs.replace(found, versions=versions, publish_from=out)
        return msgspec.structs.replace(real(*args), start=start)

    patch.setattr(lineage_start, "recover_backfill", recover)


@mutant
def a_backfill_puts_out_what_it_was_told_to_leave_out(patch: Patch) -> None:
    _beginning(patch, lambda *_: 0)


@mutant
def where_a_backfill_begins_is_what_it_was_told_last(patch: Patch) -> None:
    _beginning(patch, lambda _first, _commit, published, since: 0 if published else since)


@mutant
def a_backfill_leaves_a_hole_behind_what_live_put_out(patch: Patch) -> None:
    _beginning(patch, lambda first, commit, _published, since: first if commit else since)


@mutant
def a_backfill_may_begin_beyond_live(patch: Patch) -> None:
    patch.setattr(LineageStart, "_since", lambda self: self.since)


# --- a version that begins from a file ------------------------------------------------------------


@mutant
def a_version_says_what_an_untrained_model_says_until_its_file(patch: Patch) -> None:
    patch.setattr(VersionFold, "waits_for_file", False)


@mutant
def every_order_to_begin_begins_anew(patch: Patch) -> None:
    def begin(self: Any, event: Any, _: Any) -> None:
        for version in self.versions:
            if version.name == event.version and version.plan.from_file:
                order = file_ordered(event)
                header, entries = opened(self._blobs.read(order), "it")
                version.begin(order, header, entries)
                if version.failed is not None and version.name == self._turns.seat.champion:
                    raise _ChampionFailed(version)

    patch.setattr(PartitionProcessor, "_begin", begin)


@mutant
def a_backfill_overhears_the_order_to_begin(patch: Patch) -> None:
    real = PartitionProcessor._begin

    def begin(self: Any, event: Any, record: Any) -> None:
        if not self._start.backfill:
            real(self, event, record)

    patch.setattr(PartitionProcessor, "_begin", begin)


@mutant
def from_which_file_a_version_has_begun_is_not_saved(patch: Patch) -> None:
    def forgetful(_: None, _self: Any, writes: Any) -> None:
        writes.pop(b"i", None)

    after(patch, VersionFold, "collect", forgetful)


@mutant
def a_file_that_does_not_fit_is_begun_from(patch: Patch) -> None:
    patch.setattr(version_fold, "misfit", lambda *_: "")


@mutant
def models_of_a_file_are_not_saved_until_they_are_called(patch: Patch) -> None:
    def take(self: Any, entries: Any) -> None:
        for entry in entries:
            self._at_rest.put(*entry)

    patch.setattr(Models, "take", take)


# --- another River --------------------------------------------------------------------------------


@mutant
def what_another_river_has_learned_is_gone_on_with(patch: Patch) -> None:
    patch.setattr(Environment, "check", nothing)


@mutant
def whoever_writes_to_the_ledger_may_accept_a_river(patch: Patch) -> None:
    patch.setattr(environments, "verify", lambda *_: True)


@mutant
def a_river_that_was_accepted_is_good_for_all_that_come(patch: Patch) -> None:
    real = environments.accepted_environment

    def accepted(log: Any, manifest: Any) -> Any:
        return real(log, manifest) and this_environment()

    patch.setattr(environments, "accepted_environment", accepted)


@mutant
def a_river_is_accepted_for_positions_and_not_for_states(patch: Patch) -> None:
    real = environments.carried

    def carried(log: Any, manifest: Any, known: Any) -> Any:
        return known if isinstance(known, Position) else real(log, manifest, known)

    patch.setattr(partition_host, "carried", carried)


@mutant
def who_goes_on_under_another_river_does_not_say_so(patch: Patch) -> None:
    patch.setattr(processor, "this_environment", lambda: environment_with(FIRST))


@mutant
def a_control_that_accepts_a_river_is_refused(patch: Patch) -> None:
    def form(event: Any) -> None:
        if event.action == "environment":
            raise Refusal("unknown_action", "action", "never heard of")
        require_form(event)

    patch.setattr(processor, "require_form", form)


# --- joins ----------------------------------------------------------------------------------------


@mutant
def a_backfill_joins_where_it_stands(patch: Patch) -> None:
    def at_once(self: Any, _host: Any) -> Any:
        self._built = self._open_built(self._names[0])
        while self._built.relearning:
            self._built.step()
        return self._built

    patch.setattr(BackfillJoins, "_bring_nearer", at_once)


@mutant
def a_join_skips_what_the_backfill_has_not_published(patch: Patch) -> None:
    real = BackfillJoins._bring_nearer

    def bring_nearer(self: Any, host: Any) -> Any:
        if self._built is None:
            self._built = self._open_built(self._names[0])
            fold = self._built.processor
            fold._start = msgspec.structs.replace(fold._start, publish_from=host.next_offset)
        return real(self, host)

    patch.setattr(BackfillJoins, "_bring_nearer", bring_nearer)


def _save_listed(host: Any, version: str, listed: VersionCommit) -> None:
    position = with_version(host.processor.position(), version, listed.definition)
    rows: dict[bytes, bytes | None] = {b"position": position.encode()}
    host._store.save(Image(host.next_offset, {POSITION: rows}))


@mutant
def a_join_is_committed_before_its_state_is_saved(patch: Patch) -> None:
    def adopt(self: Any, version: str, built: Any) -> None:
        self.checkpoint()
        listed = built.recovery.start.versions[version]
        commit = listing(self.commit, self.recovery.start, version, listed, built.processor)
        _save_listed(self, version, listed)
        at = self.next_offset
        self._claim.publish([], encode_commit(commit), expected=at, next_offset=at)
        take_family(self._store, built.store, f"version.{version}", at)
        self.commit = commit
        saved = read_position(self._store)
        self._restore(self._lineage.recovery(commit, saved, 0, 0, commit.versions), saved)

    patch.setattr(PartitionHost, "adopt", adopt)


@mutant
def a_family_is_copied_on_top_of_an_older_one(patch: Patch) -> None:
    def take(to: Any, *args: Any) -> None:
        to.drop = nothing
        take_family(to, *args)
        del to.drop

    patch.setattr(partition_host, "take_family", take)


@mutant
def what_a_version_was_is_forgotten_when_another_joins(patch: Patch) -> None:
    def forgetful(found: Any, commit: Any, *_rest: Any) -> Any:
        return msgspec.structs.replace(found, left_definitions=commit.left_definitions)

    after(patch, partition_host, "listing", forgetful)


@mutant
def a_checkpoint_without_a_version_is_used(patch: Patch) -> None:
    real = recovery._position

    def position(manifest: Any, partition: int, saved: Any, hosted: Any, committed: int) -> Any:
        known = {name: hosted[name] for name in hosted if saved and name in saved.versions}
        return real(manifest, partition, saved, known, committed)

    patch.setattr(recovery, "_position", position)


@mutant
def a_version_that_left_comes_back_by_itself(patch: Patch) -> None:
    def back(found: Any, manifest: Any, partition: int, pipeline: Any, commit: Any, *_: Any) -> Any:
        hosted, left, leaving = found
        for name in set(left) - set(leaving):
            if name in pipeline.definitions():
                origin = manifest.origins[partition]
                hosted[name] = VersionCommit(pipeline.definitions()[name], origin, origin)
                del left[name]
        return hosted, left, leaving

    after(patch, recovery, "_hosted", back)


MUTANTS = FOLD_MUTANTS | VERSION_MUTANTS
