"""What happens to disks and by people: a named error or a safe rebuild, never an empty model."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from stream_app.core.commit import decode_commit, encode_commit
from stream_app.core.environment import this_environment
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import POSITION, read_position
from stream_app.core.store import Image
from stream_app.errors import (
    DefinitionDiffers,
    EnvironmentDiffers,
    LogBusy,
    LogUntrusted,
    PositionMissing,
    SettingsDiffer,
    StateUntrusted,
    StreamAppError,
    UsageError,
)
from stream_app.hosts.controls import Signer, append_settings
from stream_app.hosts.embedded import Notice, Word
from stream_app.hosts.environments import accept
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.state_directory import KEY_NAME
from stream_app.hosts.stop_flag import StopFlag
from stream_app.hosts.workers import RunPlan, run
from stream_app.records import NewRecord
from stream_app.storage.rocksdb_store import RocksdbStore
from tests.recovery.machine import Machine, Outcome, first_difference
from tests.recovery.owner import owning
from tests.recovery.pipelines import small
from tests.recovery.storms import records
from tests.storage.tampering import forge, sql

HALF = 150


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Returns a machine whose log has some 330 records of `small`, nothing of it processed."""
    made = Machine(tmp_path / "machine")
    made.root.mkdir()
    made.begin(small(), records(150))
    made.state.seal()
    return made


@pytest.fixture
def undisturbed(machine: Machine, tmp_path: Path) -> Outcome:
    """Returns what one run over that log publishes."""
    copy = machine.copy(tmp_path / "undisturbed")
    copy.run(small())
    return copy.outcome(small())


def _refused(machine: Machine, pipeline: Pipeline, kind: type[StreamAppError]) -> str:
    """Open, see it refused before anything is published, and return the error's whole text."""
    before = machine.outcome(pipeline)
    with pytest.raises(kind) as caught:
        machine.run(pipeline)
    assert first_difference(before, machine.outcome(pipeline)) is None
    assert len(caught.value.attempt) > 10
    return str(caught.value)


def _run(machine: Machine, pipeline: str, **asked: tuple[str, ...]) -> list[str]:
    """Run a file that says `pipeline = small(...)` as the command does; returns the notices.

    `asked` is what the command line says of versions: `versions`, `drop`.
    """
    name = f"declared_{abs(hash((machine.root, pipeline)))}"
    file = machine.root / f"{name}.py"
    file.write_text(f"from datetime import timedelta\n{IMPORT}\npipeline = {pipeline}\n")
    said: list[Word] = []
    plan = RunPlan(
        spec=str(file),
        broker=str(machine.log_path),
        state=str(machine.state.root),
        until_end=True,
    )
    for name, versions in asked.items():
        plan = msgspec.structs.replace(plan, **{name: versions})
    run(plan, said.append, StopFlag())
    return [row.text for row in said if isinstance(row, Notice)]


IMPORT = "from tests.recovery.pipelines import small"


def _sql(machine: Machine, text: str, *values: object) -> None:
    sql(machine.log_path, text, values)


# The state directory


def test_a_deleted_state_is_built_again_and_said(machine: Machine, undisturbed: Outcome) -> None:
    machine.run(small(), until=HALF)
    shutil.rmtree(machine.state_path(small()))
    notices = _run(machine, "small()")
    assert notices == [f"there is no checkpoint: learning {HALF} records again from the log"]
    assert first_difference(undisturbed, machine.outcome(small())) is None


def test_state_of_another_log_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine.run(small(), until=HALF)
    other = Machine(tmp_path / "other")
    other.root.mkdir()
    other.begin(small(), records(150))
    other.run(small(), until=HALF)
    path = machine.state_path(small())
    shutil.rmtree(path)
    shutil.copytree(other.state_path(small()), path)
    with closing(machine.log()) as mine, closing(other.log()) as its:
        text = _refused(machine, small(), StateUntrusted)
        assert mine.log_id in text
        assert its.log_id in text


def test_state_of_another_definition_is_refused(machine: Machine, tmp_path: Path) -> None:
    """Log id, pipeline, chain and version names are equal: only the definitions tell."""
    other = machine.copy(tmp_path / "other")
    other.run(small(l2=0.5))
    machine.run(small())
    path = machine.state_path(small())
    shutil.rmtree(path)
    shutil.copytree(other.state_path(small()), path)
    assert "holds v1 as" in _refused(machine, small(), DefinitionDiffers)


def test_state_of_another_river_is_refused(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    with closing(RocksdbStore.open(machine.state_path(small()))) as store:
        position = read_position(store)
        assert position is not None
        environment = msgspec.structs.replace(position.environment, river="0.1.0")
        older = msgspec.structs.replace(position, environment=environment)
        store.save(Image(HALF, {POSITION: {b"position": older.encode()}}))
    assert "river 0.1.0" in _refused(machine, small(), EnvironmentDiffers)


# The log


def test_state_ahead_of_an_older_log_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine.run(small(), until=HALF)
    older = machine.copy(tmp_path / "older")
    machine.run(small())
    shutil.copy(older.log_path, machine.log_path)
    text = _refused(machine, small(), StateUntrusted)
    assert f"ahead of the committed position {HALF}" in text


@pytest.mark.parametrize("saved_at", [20, 60], ids=["K before C", "K at C"])
def test_an_older_log_that_went_on_otherwise_is_refused(
    saved_at: int, machine: Machine, tmp_path: Path
) -> None:
    """Here the positions fit, so that only the chain digest can tell."""
    rows = records(150, seed=8)
    older = machine.copy(tmp_path / "older")
    older.append(small(), rows[::2] + rows[1::2])
    with closing(machine.log()) as log:
        end = log.bounds("small.events", 0)[1]
    machine.append(small(), rows)
    machine.run(small(), until=end + saved_at)
    older.run(small(), until=end + 60)
    shutil.copy(older.log_path, machine.log_path)
    text = _refused(machine, small(), LogUntrusted)
    assert f"small.events/0@{end + 60}" in text


def test_a_log_with_changed_records_is_refused(machine: Machine) -> None:
    machine.run(small(), until=HALF, save=False)
    forge(
        machine.log_path,
        "UPDATE records SET value = CAST(replace(CAST(value AS TEXT), 'gale', 'calm') AS BLOB)"
        " WHERE position & 1099511627775 < ?",
        [HALF],
    )
    assert "chain digest differs" in _refused(machine, small(), LogUntrusted)


def test_a_log_that_lost_its_end_is_refused(machine: Machine) -> None:
    machine.run(small())
    events = "(SELECT row_id FROM partitions WHERE topic = 'small.events')"
    _sql(
        machine,
        f"DELETE FROM records WHERE position >> 40 = {events} AND position & 1099511627775 >= 20",
    )
    _sql(machine, "UPDATE partitions SET next_offset = 20 WHERE topic = 'small.events'")
    assert "records are missing" in _refused(machine, small(), LogUntrusted)


def test_a_removed_log_is_not_taken_for_a_new_beginning(machine: Machine) -> None:
    """The state is all that still knows that there was one."""
    _run(machine, "small()")
    for file in machine.root.glob("log.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    with pytest.raises(LogUntrusted, match="was removed, replaced or moved"):
        _run(machine, "small()")
    assert machine.outcome(small()).commit is None


def test_the_state_of_a_root_that_others_may_write_to_is_refused(machine: Machine) -> None:
    _run(machine, "small()")
    machine.state.root.chmod(0o777)
    with pytest.raises(StateUntrusted, match="written by other users"):
        _run(machine, "small()")
    machine.state.root.chmod(0o700)
    _run(machine, "small()")


def test_a_log_replaced_under_a_running_processor_stops_it(
    machine: Machine, tmp_path: Path
) -> None:
    other = machine.copy(tmp_path / "other")
    with closing(machine.log()) as log, closing(machine.open(log, small())) as host:
        host.step(100)
        other.log_path.replace(machine.log_path)
        with pytest.raises(LogUntrusted):
            host.step(100)


def test_a_lost_commit_record_is_never_taken_as_zero(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    _sql(machine, "DELETE FROM ledger WHERE key = 'commit'")
    with pytest.raises(PositionMissing, match="outputs but no committed position"):
        machine.replayed(small())
    assert "a checkpoint but no committed position" in _refused(machine, small(), PositionMissing)
    shutil.rmtree(machine.state_path(small()))
    assert "outputs but no committed position" in _refused(machine, small(), PositionMissing)


def test_a_lost_commit_is_noticed_where_nothing_but_dead_letters_was_published(
    tmp_path: Path,
) -> None:
    """Found by the simulation: only predictions were looked for."""
    machine = Machine(tmp_path / "refusing")
    machine.root.mkdir()
    machine.begin(small(), [NewRecord(b"k", b"no event")] * 3)
    machine.run(small())
    shutil.rmtree(machine.state_path(small()))
    _sql(machine, "DELETE FROM ledger WHERE key = 'commit'")
    assert "outputs but no committed position" in _refused(machine, small(), PositionMissing)
    with pytest.raises(PositionMissing, match="outputs but no committed position"):
        machine.replayed(small())


@pytest.mark.parametrize(
    ("written", "damaged"),
    [
        ("value_bytes_max", "Value_bytes_max"),
        ('"small"', '"sm\\udc3d"'),
        ('"origins":[0]', '"origins":[] '),
        ('"partitions":1', '"partitions":3'),
        ('"public_keys":{"k1":"', '"public_keys":{"k1":"x'),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    machine: Machine, written: str, damaged: str
) -> None:
    """Found by damaged files: what it says is used as it is, far from where it was read."""
    _sql(
        machine,
        "UPDATE ledger SET value = CAST(replace(CAST(value AS TEXT), ?, ?) AS BLOB)"
        " WHERE key = 'manifest'",
        written,
        damaged,
    )
    with pytest.raises(LogUntrusted, match="the manifest of small"):
        _run(machine, "small()")


def test_a_chain_digest_that_is_none_is_refused(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    _sql(
        machine,
        """UPDATE ledger SET value = CAST(replace(CAST(value AS TEXT), '"chain":"', '"chain":"x')"""
        " AS BLOB) WHERE key = 'commit'",
    )
    assert "the committed position" in _refused(machine, small(), LogUntrusted)


def test_newest_settings_that_cannot_be_read_are_refused(machine: Machine) -> None:
    manifest_row = "INSERT INTO ledger VALUES ('small.ledger', 0, 'settings', ?)"
    _sql(machine, manifest_row, b'{"acceptance": 7}')
    with pytest.raises(LogUntrusted, match="the settings of small"):
        _run(machine, "small()")


def test_a_log_from_before_the_first_start_asks_to_delete_the_state_that_is_ahead(
    machine: Machine, undisturbed: Outcome, tmp_path: Path
) -> None:
    """Found by damaged files: a backup was put back as asked, and then nothing led any further."""
    backup = machine.copy(tmp_path / "backup")
    machine.run(small())
    shutil.copy(backup.log_path, machine.log_path)
    text = _refused(machine, small(), PositionMissing)
    assert "a checkpoint but no committed position" in text
    assert "delete the state directory" in text
    shutil.rmtree(machine.state_path(small()))
    machine.run(small())
    assert first_difference(undisturbed, machine.outcome(small())) is None


def test_a_topic_of_events_that_is_gone_is_not_made_anew(machine: Machine) -> None:
    """Found by damaged files: one bit in its name, and what producers had sent was not there."""
    _sql(machine, "UPDATE partitions SET topic = 'small.evemts' WHERE topic = 'small.events'")
    with pytest.raises(LogUntrusted, match=r"small\.events .* is gone"):
        _run(machine, "small()")
    with closing(machine.log()) as log:
        assert "small.events" not in log.topics()


def test_a_lost_ledger_is_never_taken_as_a_first_start(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    _sql(machine, "DELETE FROM ledger")
    shutil.rmtree(machine.state.root / "keys", ignore_errors=True)
    with pytest.raises(PositionMissing, match="no manifest and no position"):
        _run(machine, "small()")


# The declaration


def test_other_settings_are_refused_and_shown_until_they_are_applied(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    changed = "small(evaluate_every=20, wait=timedelta(minutes=5))"
    with pytest.raises(SettingsDiffer) as caught:
        _run(machine, changed)
    assert "reporting.evaluate_every: the log has 50, the file 20" in caught.value.problem
    assert "acceptance.wait_ms: the log has 600000, the file 300000" in caught.value.problem
    assert "stream-app apply" in caught.value.attempt
    assert machine.commit(small()).next_offset == HALF

    new = small(evaluate_every=20, wait=timedelta(minutes=5))
    with closing(machine.log()) as log:
        manifest = read_manifest(log, "small")
        key = machine.state.signing_key()
        old, signer = small().settings(), Signer(KEY_NAME, key)
        append_settings(log, manifest, lambda: signer, old, new.settings(), None)
    machine.append(small(), records(150, seed=9))
    _run(machine, changed)
    assert machine.commit(new).settings == new.settings().plain()
    report = machine.replayed(new)
    assert report.difference is None
    assert report.outputs["small.evaluations"] > 8


def test_an_added_version_is_said_and_not_run(machine: Machine, undisturbed: Outcome) -> None:
    machine.run(small(), until=HALF)
    [notice] = _run(machine, 'small(others=("t1",))')
    assert "version t1 is declared and not run: stream-app backfill FILE t1 builds it" in notice
    outcome = machine.outcome(small())
    assert outcome.published.pop("small.shadow.t1") == []
    assert first_difference(undisturbed, outcome) is None


def test_a_version_that_is_left_out_leaves_and_does_not_come_back(
    machine: Machine, undisturbed: Outcome
) -> None:
    both = small(others=("t1",))
    machine.run(both, until=HALF)
    shadow = len(machine.outcome(both).published["small.shadow.t1"])
    machine.run(small(), until=2 * HALF)
    assert machine.commit(small()).left == {"t1": HALF}
    [notice] = _run(machine, 'small(others=("t1",))')
    assert f"version t1 is declared and not run: it left at offset {HALF}" in notice
    published = machine.outcome(both).published
    assert len(published.pop("small.shadow.t1")) == shadow
    assert machine.commit(small()).left == {"t1": HALF}
    assert published == undisturbed.published
    report = machine.replayed(both)
    assert (report.difference, report.not_compared) == (None, ["t1"])


def test_a_version_left_out_of_a_start_that_committed_nothing_is_still_there(
    machine: Machine, tmp_path: Path
) -> None:
    """That start saved a checkpoint without it, which is of no use to the next one."""
    both = small(others=("t1",))
    machine.run(both, until=HALF, save=False)
    undisturbed = machine.copy(tmp_path / "both")
    undisturbed.run(both)
    machine.run(small(), until=HALF)
    notices = _run(machine, 'small(others=("t1",))')
    assert notices == [f"the checkpoint lacks t1: learning {HALF} records again from the log"]
    assert first_difference(undisturbed.outcome(both), machine.outcome(both)) is None


def test_a_start_names_the_versions_it_ends_and_why_before_it_commits(machine: Machine) -> None:
    _run(machine, 'small(others=("t1", "t2"))')
    end = machine.commit(small()).next_offset
    [t1, t2] = _run(machine, 'small(others=("t2",))', drop=("t2",))
    assert t1.startswith(f"version t1 leaves at offset {end}: the file")
    assert t2.startswith(f"version t2 leaves at offset {end}: it is not")
    assert machine.commit(small()).left == {}  # there was nothing to commit
    machine.append(small(), records(20, seed=9))
    assert len(_run(machine, 'small(others=("t2",))', drop=("t2",))) == 2
    assert machine.commit(small()).left == {"t1": end, "t2": end}
    # The same command at a restart is no mistake.
    assert _run(machine, 'small(others=("t2",))', drop=("t2",)) == []


def test_no_version_ends_by_being_left_unsaid(machine: Machine) -> None:
    both = 'small(others=("t1",))'
    _run(machine, both)
    machine.append(small(), records(20, seed=9))
    before = machine.commit(small())
    refused: list[tuple[dict[str, tuple[str, ...]], str]] = [
        ({"versions": ("v1",)}, "--drop t1"),
        ({"versions": ("t1",)}, "leaves out v1, the champion"),
        ({"drop": ("v1",)}, "the champion of small"),
        ({"drop": ("t11",)}, "did you mean t1?"),
        ({"versions": ("v1", "t1"), "drop": ("t1",)}, "contradict"),
    ]
    for asked, text in refused:
        with pytest.raises(UsageError, match=text):
            _run(machine, both, **asked)
        assert machine.commit(small()) == before
    _run(machine, both, versions=("v1", "t1"))
    assert machine.commit(small()).versions.keys() == {"v1", "t1"}


def test_a_first_start_says_which_versions_it_leaves_out_and_a_later_one_how_they_come_in(
    machine: Machine,
) -> None:
    [notice] = _run(machine, 'small(others=("t1",))', versions=("v1",))
    assert "version t1 leaves at offset 0: it is not among" in notice
    [notice] = _run(machine, 'small(others=("t1",))')
    assert "version t1 is declared and not run: it left at offset 0" in notice


def test_a_feature_that_a_version_names_and_nobody_declares_is_said_at_start(
    machine: Machine,
) -> None:
    named = 'small(features=("wind", "laod", "colour"))'
    one, other = _run(machine, named)
    assert "'laod' is not declared" in one
    assert one.endswith("; did you mean load?")
    assert "'colour' is not declared" in other
    assert "did you mean" not in other


def test_the_champion_cannot_be_left_out(machine: Machine) -> None:
    machine.run(small(others=("t1",)), until=HALF)
    text = _refused(machine, small("v9"), DefinitionDiffers)
    assert "v1 is the champion" in text


def test_a_version_changed_under_its_name_is_refused(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    text = _refused(machine, small(l2=0.5), DefinitionDiffers)
    assert "stream-app backfill builds from the log" in text
    shutil.rmtree(machine.state_path(small()))
    _refused(machine, small(l2=0.5), DefinitionDiffers)


# The surroundings


def test_a_second_owner_is_told_who_the_first_one_is(machine: Machine) -> None:
    with owning(machine) as owner:
        text = _refused(machine, small(), LogBusy)
        assert f"process {owner.pid}" in text
        assert "stopped" not in text
    machine.run(small())


def test_a_frozen_owner_is_named_and_not_taken_over(machine: Machine) -> None:
    with owning(machine) as owner:
        os.kill(owner.pid, signal.SIGSTOP)
        text = _refused(machine, small(), LogBusy)
        assert f"process {owner.pid}" in text
        assert "which is stopped" in text
        assert f"kill -CONT {owner.pid}" in text


def test_a_fenced_processor_publishes_nothing(machine: Machine, undisturbed: Outcome) -> None:
    """Somebody deleted the lock file, so that two believe the partition to be theirs."""
    with owning(machine) as owner:
        assert owner.step() == "100"
        shutil.rmtree(machine.root / "log.db.locks")
        state = machine.state_path(small())
        state.rename(state.with_name("taken from under it"))
        with closing(machine.log()) as log, closing(machine.open(log, small())) as host:
            before = machine.outcome(small())
            assert owner.step() == "Fenced"
            assert first_difference(before, machine.outcome(small())) is None
            while host.step():
                pass
    assert first_difference(undisturbed, machine.outcome(small())) is None


def test_another_river_is_refused_by_name(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    commit = machine.commit(small())
    environment = msgspec.structs.replace(commit.environment, river="0.1.0")
    value = encode_commit(msgspec.structs.replace(commit, environment=environment))
    assert decode_commit(value, "here").environment.river == "0.1.0"
    _sql(machine, "UPDATE ledger SET value = ? WHERE key = 'commit'", value)
    text = _refused(machine, small(), EnvironmentDiffers)
    assert "river 0.1.0" in text
    assert "install river 0.1.0" in text


def test_another_river_goes_on_once_a_person_has_accepted_it(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    _learned_under_another_river(machine)
    with closing(machine.log()) as log:
        [(_, offset)] = accept(log, "small", machine.state, "tested on a copy", "ana")
    machine.run(small())
    commit = machine.commit(small())
    assert commit.environment == this_environment()
    assert commit.next_offset == offset + 1
    assert commit.counters["controls"] == 1
    with closing(machine.log()) as log, pytest.raises(UsageError, match="nothing to accept"):
        accept(log, "small", machine.state, None, None)


def test_an_accepted_environment_that_nobody_signed_is_refused(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    _learned_under_another_river(machine)
    with closing(machine.log()) as log:
        accept(log, "small", machine.state, None, None)
        value = log.ledger_get("small.ledger", 0, "environment")
        assert value is not None
    forged = value.replace(b'"by"', b'"BY"') if b'"by"' in value else value[:-3] + b'x"}'
    _sql(machine, "UPDATE ledger SET value = ? WHERE key = 'environment'", forged)
    _refused(machine, small(), LogUntrusted)


def _learned_under_another_river(machine: Machine) -> None:
    """Let commit and checkpoint say that another River has made them."""
    commit = machine.commit(small())
    environment = msgspec.structs.replace(commit.environment, river="0.1.0")
    value = encode_commit(msgspec.structs.replace(commit, environment=environment))
    _sql(machine, "UPDATE ledger SET value = ? WHERE key = 'commit'", value)
    with closing(RocksdbStore.open(machine.state_path(small()))) as store:
        position = read_position(store)
        assert position is not None
        older = msgspec.structs.replace(position, environment=environment)
        store.save(Image(HALF, {POSITION: {b"position": older.encode()}}))


def test_another_cpu_goes_on_and_is_recorded(machine: Machine) -> None:
    machine.run(small(), until=HALF)
    commit = machine.commit(small())
    environment = msgspec.structs.replace(commit.environment, cpu="an abacus")
    value = encode_commit(msgspec.structs.replace(commit, environment=environment))
    _sql(machine, "UPDATE ledger SET value = ? WHERE key = 'commit'", value)
    machine.run(small())
    assert machine.commit(small()).environment == commit.environment


def test_records_removed_before_they_were_processed_are_missed(machine: Machine) -> None:
    """A hole in what is learned would be silent: reading just begins later."""
    machine.run(small(), until=HALF)
    with closing(machine.sqlite_log()) as log:
        log.retain("small.events", 0, from_offset=HALF + 1)
    assert f"begins at offset {HALF + 1}" in _refused(machine, small(), LogUntrusted)


def test_records_removed_from_under_a_processor_that_lags_stop_it(machine: Machine) -> None:
    with closing(machine.sqlite_log()) as log, closing(machine.open(log, small())) as host:
        host.step(100)
        log.retain("small.events", 0, from_offset=101)
        before = machine.outcome(small())
        with pytest.raises(LogUntrusted, match="begins at offset 101"):
            host.step(100)
        assert first_difference(before, machine.outcome(small())) is None


def test_removing_what_was_processed_and_saved_costs_nothing(
    machine: Machine, undisturbed: Outcome
) -> None:
    machine.run(small(), until=HALF)
    with closing(machine.sqlite_log()) as log:
        log.retain("small.events", 0, from_offset=HALF)
    machine.run(small())
    assert first_difference(undisturbed, machine.outcome(small())) is None


@pytest.mark.parametrize("column", ["value", "headers"])
def test_a_replay_names_an_output_that_is_no_text_any_more(machine: Machine, column: str) -> None:
    """Found by damaged files: names of fields, and the header that says what caused it."""
    machine.run(small())
    forge(
        machine.log_path,
        f"UPDATE records SET {column} = CAST(replace(CAST({column} AS TEXT), ?, ?) AS BLOB)"
        " WHERE position >> 40 = (SELECT row_id FROM partitions WHERE topic = 'small.predictions')",
        [
            "kind" if column == "value" else "small.events",
            b"k\xe5nd" if column == "value" else b"sm\xe5ll.events",
        ],
    )
    difference = machine.replayed(small()).difference
    assert difference is not None
    assert difference.position == "small.predictions/0@0"
    assert difference.field == ("kind" if column == "value" else "headers")
