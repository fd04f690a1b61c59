"""What goes wrong with a version that is built or seated never stops the live lineage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from stream_app.core.authority import seat_control
from stream_app.core.commit import Commit, encode_commit
from stream_app.core.position import POSITION, read_position
from stream_app.core.seats import Seat, SeatChange
from stream_app.core.store import Image
from stream_app.errors import LogUntrusted, StateUntrusted
from stream_app.hosts.backfills import make_topics, parts
from stream_app.hosts.controls import signed
from stream_app.hosts.embedded import open_backfill, open_hosts, run_hosts
from stream_app.hosts.explaining import Explanation, explain
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import committed, read_manifest
from stream_app.hosts.promoting import seat_at_committed
from stream_app.hosts.signing_keys import rotate
from stream_app.hosts.state_directory import backfill_lineage
from stream_app.storage.rocksdb_store import RocksdbStore
from tests.recovery.machine import Machine
from tests.recovery.pipelines import contest
from tests.recovery.storms import records
from tests.storage.tampering import sql

EVENTS = 300
_HOSTED = contest("v1", "v2")
_ALL = contest()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine that runs two versions, and has built a third."""
    machine = Machine(tmp_path)
    machine.begin(_HOSTED, records(EVENTS, seed=1)[:EVENTS])
    machine.run(_HOSTED)
    _build(machine, since=0)
    return machine


def _build(machine: Machine, *, since: int) -> None:
    with closing(machine.log()) as log:
        make_topics(log, _ALL, "v3", 1)
        manifest = read_manifest(log, _ALL.name)
        place = (log, _ALL, manifest, machine.state, 0, "v3")
        with closing(open_backfill(*place, since=since)) as host:
            while host.step(100, until=EVENTS):
                pass
            host.finish()


def _live(machine: Machine) -> list[str]:
    """Run live to the end of the log; returns why versions were left out."""
    why: list[str] = []
    with closing(machine.log()) as log:
        manifest = read_manifest(log, _ALL.name)
        [host] = open_hosts(
            log, _ALL, manifest, machine.state, [0], left_out=lambda _, row: why.append(row.why)
        )
        with closing(host):
            end = log.bounds("contest.events", 0)[1]
            run_hosts(log, _ALL, [host], stopped=lambda: False, until={0: end})
    return why


def _garbage(_built: Commit, _live: Commit) -> bytes:
    return b"{"


def _lives(_built: Commit, live: Commit) -> bytes:
    return encode_commit(live)


def _of_another(built: Commit, live: Commit) -> bytes:
    return encode_commit(msgspec.structs.replace(built, versions={"v2": live.versions["v2"]}))


@pytest.mark.parametrize("forge", [_garbage, _lives, _of_another])
def test_live_goes_on_beside_a_backfill_whose_position_is_not_its_own(
    machine: Machine, forge: Callable[[Commit, Commit], bytes]
) -> None:
    with closing(machine.log()) as log:
        built_one, live = built(log, "contest", "v3", 0), committed(log, "contest", 0)
        assert built_one is not None
        assert live is not None
    change = "UPDATE ledger SET value = ? WHERE ledger = 'contest.ledger.v3' RETURNING 1"
    assert sql(machine.log_path, change, (forge(built_one, live),))
    machine.append(_ALL, records(EVENTS + 50, seed=1)[EVENTS:])
    [why] = _live(machine)
    assert "cannot join" in why
    assert "v3" not in machine.commit(_ALL).versions
    assert machine.replayed(_HOSTED).difference is None
    with closing(machine.log()) as log, pytest.raises(LogUntrusted, match="committed position of"):
        parts(log, _ALL, read_manifest(log, "contest"), "v3")


def test_a_backfill_with_a_damaged_model_does_not_come_into_the_live_state(
    machine: Machine,
) -> None:
    with closing(machine.log()) as log:
        lineage = backfill_lineage("v3")
        path = machine.state.partition(log.log_id, "contest", 0, lineage)
    with closing(RocksdbStore.open(path)) as store:
        blob = store.get("version.v3", b"m")
        assert blob is not None
        store.save(Image(EVENTS, {"version.v3": {b"m": blob[:-1] + bytes([blob[-1] ^ 1])}}))
    for _ in range(2):
        [why] = _live(machine)
        assert "cannot join: The saved blob" in why
    assert "v3" not in machine.commit(_ALL).versions


def test_a_seat_at_the_committed_position_is_signed_with_a_key_that_is_in_force_there(
    machine: Machine,
) -> None:
    machine.append(_HOSTED, records(EVENTS + 50, seed=1)[EVENTS:])
    with closing(machine.log()) as log:
        manifest = read_manifest(log, "contest")
        rotate(log, "contest", machine.state, None)  # which live has not read yet
        [row] = seat_at_committed(log, manifest, machine.state, "v2", "stuck", None)
        assert row.since == EVENTS
    machine.run(_HOSTED)
    assert machine.commit(_HOSTED).seat.champion == "v2"
    assert machine.replayed(_HOSTED).difference is None


def test_a_seat_that_is_signed_with_a_key_which_was_revoked_before_is_refused(
    machine: Machine,
) -> None:
    stolen = machine.state.signing_key()
    with closing(machine.log()) as log:
        manifest = read_manifest(log, "contest")
        rotate(log, "contest", machine.state, None)
    machine.run(_HOSTED)
    commit = machine.commit(_HOSTED)
    since = commit.next_offset
    change = SeatChange(since, "v2", f"seat-forged-0@{since}", ts_ms=5)
    sig = signed(seat_control(change), manifest, stolen, "k1").sig or ""
    change = msgspec.structs.replace(change, sig=sig)
    forged = msgspec.structs.replace(commit, seat=Seat("v2", since), seats=[change])
    with closing(machine.log()) as log:
        claim = log.claim("contest.ledger", 0)
        claim.publish([], encode_commit(forged), expected=since, next_offset=since)
        claim.release()
    with pytest.raises(LogUntrusted, match="no valid order is known"):
        machine.run(_HOSTED)


def test_a_checkpoint_with_other_settings_than_were_committed_is_not_trusted(
    machine: Machine,
) -> None:
    with closing(RocksdbStore.open(machine.state_path(_HOSTED))) as store:
        saved = read_position(store)
        assert saved is not None
        settings = msgspec.json.decode(msgspec.json.encode(saved.settings))
        settings["reporting"]["evaluate_every"] = 7
        edited = msgspec.structs.replace(saved, settings=settings).encode()
        store.save(Image(saved.next_offset, {POSITION: {b"position": edited}}))
    with pytest.raises(StateUntrusted, match="has other settings"):
        machine.run(_HOSTED)


def test_a_backfill_that_is_told_to_begin_beyond_live_begins_where_live_stands(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    machine.begin(_HOSTED, records(EVENTS, seed=1)[:EVENTS])
    machine.run(_HOSTED)
    _build(machine, since=EVENTS + 40)
    machine.append(_HOSTED, records(EVENTS + 80, seed=1)[EVENTS : EVENTS + 80])
    assert _live(machine) == []
    assert machine.commit(_ALL).versions["v3"].published_from == EVENTS
    assert machine.replayed(_ALL).difference is None


def test_predictions_of_a_version_that_joined_are_explained_to_the_bit_on_both_sides_of_that(
    machine: Machine,
) -> None:
    machine.append(_HOSTED, records(EVENTS + 80, seed=1)[EVENTS : EVENTS + 80])
    assert _live(machine) == []
    with closing(machine.log()) as log:
        manifest = read_manifest(log, _ALL.name)
        rows = [
            msgspec.json.decode(row.value)
            for row in log.read("contest.shadow.v3", 0, 0, records_max=10_000)
        ]
        offsets = [row["source"]["offset"] for row in rows if row["kind"] == "prediction"]
        assert offsets[0] < EVENTS < offsets[-1]
        for offset in offsets[:: len(offsets) // 5] + offsets[-1:]:
            found = explain(log, _ALL, manifest, machine.state, f"0@{offset}", version="v3")
            assert isinstance(found, Explanation)
            assert (found.same, found.topic) == ("equal", "contest.shadow.v3")
