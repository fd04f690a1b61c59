"""Every prediction that was published is made again, to the bit, from whatever is kept."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_app.core.commit import encode_commit
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.errors import StateUntrusted, UsageError
from stream_app.hosts.explaining import Explanation, RefusedRecord, explain
from stream_app.hosts.manifests import read_manifest
from tests.recovery.keeping import KeepingMachine
from tests.recovery.machine import Machine
from tests.recovery.pipelines import by_key, side_by_side
from tests.recovery.storms import records

Stormy = Callable[[Pipeline], Machine]
EVERY = 200
SAMPLES = 12


@pytest.fixture(scope="module", params=["side_by_side", "by_key"])
def ran(
    request: pytest.FixtureRequest, stormy: Stormy, tmp_path_factory: pytest.TempPathFactory
) -> tuple[KeepingMachine, Pipeline]:
    """A machine that has processed its storm, with checkpoints kept on the way; look only."""
    pipeline = {"side_by_side": side_by_side, "by_key": by_key}[request.param]
    root = stormy(pipeline).copy(tmp_path_factory.mktemp("ran") / "machine").root
    machine = KeepingMachine(root, EVERY, at_most=100)
    machine.go(pipeline)
    return machine, pipeline


def _explained(
    machine: Machine, pipeline: Pipeline, which: str, version: str | None = None
) -> Explanation | RefusedRecord:
    with closing(machine.log()) as log:
        manifest = read_manifest(log, pipeline.name)
        return explain(log, pipeline, manifest, machine.state, which, version=version)


def _published(machine: Machine, topic: str) -> list[Any]:
    rows = [msgspec.json.decode(value) for _, value, _ in machine.outcome(by_key).published[topic]]
    return [row for row in rows if row["kind"] == "prediction"]


def test_predictions_of_every_version_are_made_again_to_the_bit(
    ran: tuple[KeepingMachine, Pipeline],
) -> None:
    machine, pipeline = ran
    for version in pipeline.versions:
        shadow = version != pipeline.initial_champion
        topic = f"{pipeline.name}.shadow.{version}" if shadow else f"{pipeline.name}.predictions"
        rows = _published(machine, topic)
        for row in rows[:: max(1, len(rows) // SAMPLES)]:
            found = _explained(machine, pipeline, f"0@{row['source']['offset']}", version)
            assert isinstance(found, Explanation)
            assert (found.same, found.topic) == ("equal", topic)
            assert msgspec.json.decode(msgspec.json.encode(found.recomputed)) == row
            assert found.folded <= EVERY + 80
            assert (found.checkpoint is None) == (found.began == 0)
            assert found.notes == []


def test_a_dead_letter_is_shown_with_its_reason(ran: tuple[KeepingMachine, Pipeline]) -> None:
    machine, pipeline = ran
    letters = machine.outcome(pipeline).published[f"{pipeline.name}.dead-letters"]
    rows = [msgspec.json.decode(value) for _, value, _ in letters]
    letter = next(row for row in rows if row["kind"] == "dead_letter")
    found = _explained(machine, pipeline, f"0@{letter['source']['offset']}")
    assert isinstance(found, RefusedRecord)
    assert found.letter.reason == letter["reason"]


def test_a_sum_of_terms_is_what_the_linear_model_says(
    ran: tuple[KeepingMachine, Pipeline],
) -> None:
    machine, pipeline = ran
    row = _published(machine, f"{pipeline.name}.predictions")[-1]
    found = _explained(machine, pipeline, row["observation_id"])
    assert isinstance(found, Explanation)
    assert found.look is not None
    [linear] = found.look.linear
    assert linear.unit == "log-odds"
    assert 1 / (1 + math.exp(-linear.total)) == pytest.approx(row["probability"], abs=1e-12)
    [scaled] = found.look.steps
    assert {term.feature: term.value for term in linear.terms} == scaled.features
    assert found.seen == {
        name: value for name, value in found.raw.items() if name in scaled.features
    }


def test_a_damaged_kept_checkpoint_is_passed_over_for_an_older_one(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    whole, pipeline = ran
    machine = KeepingMachine(whole.copy(tmp_path / "machine").root, EVERY)
    kept = machine.kept(pipeline).entries()
    row = _published(machine, f"{pipeline.name}.predictions")[-1]
    before = _explained(machine, pipeline, row["observation_id"])
    used = [entry for entry in kept if entry.next_offset <= row["source"]["offset"]]
    (used[-1].path / "rocksdb" / "CURRENT").write_text("MANIFEST-999999\n")
    for table in (used[-2].path / "rocksdb").glob("*.sst"):
        table.unlink()
        table.write_bytes(b"damaged" * 100)
    found = _explained(machine, pipeline, row["observation_id"])
    assert isinstance(found, Explanation)
    assert isinstance(before, Explanation)
    assert found.same == "equal"
    assert found.recomputed == before.recomputed
    assert found.began == used[-3].next_offset
    assert len(found.notes) == 2
    assert all("is not used" in note for note in found.notes)


def test_without_any_checkpoint_it_folds_from_the_first_record(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    whole, pipeline = ran
    machine = whole.copy(tmp_path / "machine")
    row = _published(machine, f"{pipeline.name}.predictions")[-1]
    elsewhere = Machine(machine.root)
    (machine.root / "state").rename(machine.root / "gone")
    found = _explained(elsewhere, pipeline, row["observation_id"])
    assert isinstance(found, Explanation)
    assert (found.same, found.began, found.checkpoint) == ("equal", 0, None)
    assert not (machine.root / "state").exists()


def test_explaining_changes_no_byte_of_log_or_state(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    """But for what RocksDB says of itself in its own text log."""
    whole, pipeline = ran
    machine = whole.copy(tmp_path / "machine")
    row = _published(machine, f"{pipeline.name}.predictions")[-1]
    before = _files(machine.root)
    _explained(machine, pipeline, row["observation_id"])
    assert _files(machine.root) == before


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "LOG" not in path.name and not path.name.endswith(("-wal", "-shm"))
    }


def test_what_is_not_processed_yet_is_no_prediction(ran: tuple[KeepingMachine, Pipeline]) -> None:
    machine, pipeline = ran
    end = machine.commit(pipeline).next_offset
    with pytest.raises(UsageError, match=f"committed position is {end}"):
        _explained(machine, pipeline, f"0@{end}")


def test_a_version_that_came_in_later_hides_no_older_checkpoint(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    """What is kept from before a version came in is as good as ever for all the others."""
    whole, pipeline = ran
    machine = whole.copy(tmp_path / "machine")
    row = _published(machine, f"{pipeline.name}.predictions")[-1]
    commit = machine.commit(pipeline)
    later = commit.versions[pipeline.initial_champion]
    more = msgspec.structs.replace(commit, versions={**commit.versions, "later": later})
    at = commit.next_offset
    with closing(machine.log()) as log:
        claim = log.claim(Topics(pipeline.name).ledger, 0)
        claim.publish([], encode_commit(more), expected=at, next_offset=at)
        claim.release()
    found = _explained(machine, pipeline, row["observation_id"])
    assert isinstance(found, Explanation)
    assert found.same == "equal"
    assert found.began > 0
    assert found.notes == []


def test_sealed_state_of_another_key_is_not_used(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    whole, pipeline = ran
    machine = whole.copy(tmp_path / "machine")
    (machine.root / "state" / "keys" / "seal.key").unlink()
    machine.state.seal()
    row = _published(machine, f"{pipeline.name}.predictions")[-1]
    found = _explained(machine, pipeline, row["observation_id"])
    assert isinstance(found, Explanation)
    assert (found.same, found.began) == ("equal", 0)
    assert found.notes


def test_a_checkpoint_of_another_way_than_the_logs_is_named_and_no_difference_is(
    tmp_path: Path,
) -> None:
    pipeline = side_by_side
    machine = KeepingMachine(tmp_path / "machine", EVERY, at_most=100)
    machine.root.mkdir()
    machine.begin(pipeline, records(300, seed=1)[:300])
    machine.go(pipeline)
    backup = machine.copy(tmp_path / "backup")
    machine.append(pipeline, records(900, seed=2)[300:900])
    machine.go(pipeline)
    backup.append(pipeline, records(900, seed=3)[300:900])
    backup.run(pipeline)
    for end in ("", "-wal", "-shm"):
        (machine.root / f"log.db{end}").unlink(missing_ok=True)
        if (ours := backup.root / f"log.db{end}").exists():
            shutil.copy(ours, machine.root)
    shutil.rmtree(machine.state_path(pipeline) / "rocksdb")
    row, named = _published(machine, f"{pipeline.name}.predictions")[-1], 0
    for _ in range(100):
        try:
            found = _explained(machine, pipeline, row["observation_id"])
        except StateUntrusted as error:
            path = re.search(r"learned from other records.*move (.*) away", str(error))
            assert path is not None
            shutil.move(path[1], tmp_path / Path(path[1]).name)
            named += 1
            continue
        break
    assert isinstance(found, Explanation)
    assert found.same == "equal"
    assert named > 0
