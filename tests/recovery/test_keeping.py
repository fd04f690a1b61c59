"""Checkpoints that are kept: whole or not there, and live work never hears of trouble with them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_app.core.pipeline import Pipeline
from stream_app.core.position import read_position
from stream_app.errors import StreamAppError
from stream_app.hosts.kept_checkpoints import KeptCheckpoints
from stream_app.hosts.manifests import read_manifest
from stream_app.storage.rocksdb_store import RocksdbStore
from tests.recovery.keeping import AT_MOST, KeepingMachine
from tests.recovery.machine import Machine, first_difference
from tests.recovery.mortal import Life, Mortals
from tests.recovery.pipelines import by_key

Stormy = Callable[[Pipeline], Machine]
EVERY = 100
STEPS = ("copy begun", "kept one made", "kept", "dropped by name")


def _keeping(stormy: Stormy, root: Path) -> KeepingMachine:
    return KeepingMachine(stormy(by_key).copy(root).root, EVERY)


def _everything(path: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    store = RocksdbStore.open(path, read_only=True)
    try:
        return {name: store.scan(name, b"", None, 1 << 30) for name in store.families()}
    finally:
        store.close()


def _assert_whole(machine: KeepingMachine) -> None:
    for entry in machine.kept(by_key).entries():
        store = RocksdbStore.open(entry.path, read_only=True)
        try:
            position = read_position(store)
            assert position is not None
            assert position.next_offset == entry.next_offset
            assert not store.rolled_back
        finally:
            store.close()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nth", [1, 3])
def test_kill_9_while_keeping_leaves_no_half_checkpoint_and_costs_nothing(
    step: str, nth: int, mortal: Mortals, stormy: Stormy, tmp_path: Path
) -> None:
    undisturbed = _keeping(stormy, tmp_path / "undisturbed")
    undisturbed.go(by_key)
    machine = _keeping(stormy, tmp_path / "machine")
    death = mortal(Life(str(machine.root), "by_key", step, nth, keeps=EVERY))
    assert death.killed, death
    _assert_whole(machine)
    assert mortal(Life(str(machine.root), "by_key", keeps=EVERY)).code == 0
    _assert_whole(machine)
    kept = machine.kept(by_key)
    assert len(kept.entries()) == AT_MOST
    assert {path.name for path in kept.path.iterdir()} == {
        "lock",
        *(entry.path.name for entry in kept.entries()),
    }
    expected = undisturbed.outcome(by_key)
    assert first_difference(expected, machine.outcome(by_key)) is None


def test_a_kept_checkpoint_is_the_state_that_was_saved_there(
    stormy: Stormy, tmp_path: Path
) -> None:
    """A run that ends at the same record has the same entries, to the byte."""
    machine = KeepingMachine(_keeping(stormy, tmp_path / "machine").root, EVERY, at_most=1000)
    other = machine.copy(tmp_path / "other")
    machine.go(by_key)
    entry = machine.kept(by_key).entries()[1]
    other.run(by_key, until=entry.next_offset)
    mine, its = _everything(entry.path), _everything(other.state_path(by_key))
    assert mine["position"] == its["position"]
    assert {name: [key for key, _ in rows] for name, rows in mine.items()} == {
        name: [key for key, _ in rows] for name, rows in its.items()
    }


def test_a_directory_that_cannot_be_written_to_stops_nobody(
    stormy: Stormy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = _keeping(stormy, tmp_path / "undisturbed")
    undisturbed.go(by_key)
    machine = _keeping(stormy, tmp_path / "machine")
    kept = machine.kept(by_key)
    kept.path.parent.mkdir(parents=True, mode=0o700)
    kept.path.write_text("in the way")
    with caplog.at_level(logging.WARNING, "stream_app"):
        machine.go(by_key)
    expected = undisturbed.outcome(by_key)
    assert first_difference(expected, machine.outcome(by_key)) is None
    said = [record.message for record in caplog.records if record.name == "stream_app"]
    assert said == ["checkpoint_not_kept"]


def test_a_kept_checkpoint_that_is_restored_only_makes_more_to_learn_again(
    stormy: Stormy, tmp_path: Path
) -> None:
    machine = _keeping(stormy, tmp_path / "machine")
    machine.go(by_key)
    before = machine.outcome(by_key)
    oldest = machine.kept(by_key).entries()[0]
    log = machine.log()
    try:
        commands = KeptCheckpoints(log, read_manifest(log, by_key.name), machine.state)
        [done] = commands.restore(str(oldest.next_offset))
        assert done.next_offset == oldest.next_offset
    finally:
        log.close()
    log = machine.log()
    try:
        host = machine.open(log, by_key)
        try:
            assert host.next_offset == oldest.next_offset
            assert host.relearning
            while host.step():
                pass
        finally:
            host.close()
    finally:
        log.close()
    assert first_difference(before, machine.outcome(by_key)) is None


def test_nothing_is_restored_while_somebody_owns_the_state(stormy: Stormy, tmp_path: Path) -> None:
    machine = _keeping(stormy, tmp_path / "machine")
    machine.go(by_key)
    oldest = machine.kept(by_key).entries()[0]
    log = machine.log()
    try:
        host = machine.open(log, by_key)
        try:
            commands = KeptCheckpoints(log, read_manifest(log, by_key.name), machine.state)
            with pytest.raises(StreamAppError, match="is owned by this same process"):
                commands.restore(str(oldest.next_offset))
        finally:
            host.close()
    finally:
        log.close()


def test_a_checkpoint_of_another_log_is_not_restored(stormy: Stormy, tmp_path: Path) -> None:
    machine = _keeping(stormy, tmp_path / "machine")
    machine.go(by_key)
    kept = machine.kept(by_key)
    [oldest, *_] = kept.entries()
    oldest.path.rename(kept.path / f"{oldest.next_offset + 1:020d}")
    log = machine.log()
    try:
        commands = KeptCheckpoints(log, read_manifest(log, by_key.name), machine.state)
        with pytest.raises(StreamAppError, match="not where its name says"):
            commands.restore(str(oldest.next_offset + 1))
    finally:
        log.close()


def test_one_is_kept_by_a_name_while_its_owner_goes_on(stormy: Stormy, tmp_path: Path) -> None:
    machine = _keeping(stormy, tmp_path / "machine")
    log = machine.log()
    try:
        host = machine.open(log, by_key)
        try:
            host.step(200)
            host.checkpoint()
            commands = KeptCheckpoints(log, read_manifest(log, by_key.name), machine.state)
            [done] = commands.keep("first-steps")
            assert (done.next_offset, done.name) == (200, "first-steps")
            while host.step(40):
                host.checkpoint()
            assert _everything(Path(done.directory))["position"]
        finally:
            host.close()
    finally:
        log.close()
    _assert_whole(machine)
    assert "first-steps" in {entry.name for entry in machine.kept(by_key).entries()}
