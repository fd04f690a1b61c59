"""A file of models says, digit for digit, what live says next; whoever changes it is found out."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import linear_model, naive_bayes, neighbors, preprocessing, tree

from stream_app import load_model, pack_model
from stream_app.codec.encode import encode_event
from stream_app.core.model_file import Entry, encode_entry, encode_head
from stream_app.core.pipeline import Pipeline, Version
from stream_app.errors import (
    EnvironmentDiffers,
    StateUnavailable,
    StateUntrusted,
    StreamAppError,
    UsageError,
)
from stream_app.events import Observation
from stream_app.hosts.explaining import Explanation, explain
from stream_app.hosts.exporting import Exported, export
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.model_files import opened_model_file
from stream_app.learning.tasks import Binary, Multiclass, Regression
from tests.recovery.brittle import Gusty
from tests.recovery.keeping import KeepingMachine
from tests.recovery.machine import EveryNth, Machine
from tests.recovery.pipelines import by_key, side_by_side

Stormy = Callable[[Pipeline], Machine]
SAMPLES = 5
EVENTS = 120

sums = Pipeline(
    "sums",
    task=Regression(),
    features={"a": float, "b": float | None},
    versions={
        "v1": Version(preprocessing.StandardScaler() | linear_model.LinearRegression()),
        "v2": Version(tree.HoeffdingTreeRegressor(grace_period=10), features=["b", "a"]),
    },
    initial_champion="v1",
    digest_every=25,
)
kinds = Pipeline(
    "kinds",
    task=Multiclass(),
    features={"a": float, "b": float | None},
    versions={
        "v1": Version(naive_bayes.GaussianNB()),
        "v2": Version(tree.HoeffdingTreeClassifier(grace_period=10), features=["a"]),
    },
    initial_champion="v1",
    digest_every=25,
)
STORMY = {"side_by_side": side_by_side, "by_key": by_key}
PLAIN = {"sums": sums, "kinds": kinds}


def _fill(machine: Machine, pipeline: Pipeline) -> None:
    chance = random.Random(2)
    rows = []
    for i in range(EVENTS):
        a, b = chance.gauss(0, 1), chance.gauss(1, 2)
        label: Any = 2 * a - b if pipeline is sums else ("low", "mid", "high")[int(a * 9) % 3]
        event = Observation(f"o{i}", 1_700_000_000_000 + i, {"b": b, "a": a}, label=label)
        rows.append(encode_event(event))
    machine.begin(pipeline, rows)


@pytest.fixture(scope="module", params=[*STORMY, *PLAIN])
def ran(
    request: pytest.FixtureRequest, stormy: Stormy, tmp_path_factory: pytest.TempPathFactory
) -> tuple[KeepingMachine, Pipeline]:
    """A machine that has processed all there is, with checkpoints kept on the way; look only."""
    pipeline = (STORMY | PLAIN)[request.param]
    root = tmp_path_factory.mktemp("ran") / "machine"
    if request.param in STORMY:
        stormy(pipeline).copy(root)
    machine = KeepingMachine(root, 200, at_most=100)
    if request.param in PLAIN:
        root.mkdir()
        _fill(machine, pipeline)
    machine.go(pipeline)
    return machine, pipeline


@pytest.fixture(scope="module")
def storm(stormy: Stormy, tmp_path_factory: pytest.TempPathFactory) -> KeepingMachine:
    """A machine with one checkpoint kept by a name; look only, or copy."""
    root = stormy(side_by_side).copy(tmp_path_factory.mktemp("storm") / "machine").root
    machine = KeepingMachine(root, 200, at_most=100)
    machine.go(side_by_side)
    return machine


def _export(
    machine: Machine, pipeline: Pipeline, version: str, path: Path, **more: Any
) -> Exported:
    with closing(machine.sqlite_log()) as log:
        manifest = read_manifest(log, pipeline.name)
        return export(log, pipeline, manifest, machine.state, version, path, **more)


def _load(machine: Machine, path: Path, **more: Any) -> Any:
    return load_model(path, **{"state": str(machine.state.root), **more})


def _rows(machine: Machine, pipeline: Pipeline, version: str, kind: str) -> list[Any]:
    shadow = version != pipeline.initial_champion
    where = f"shadow.{version}" if shadow else "predictions"
    if kind == "state_digest" and not shadow:
        where = "evaluations"
    published = machine.outcome(pipeline).published[f"{pipeline.name}.{where}"]
    rows = [msgspec.json.decode(value) for _, value, _ in published]
    return [row for row in rows if row["kind"] == kind and row.get("version") == version]


def _seen(machine: Machine, pipeline: Pipeline, version: str, offset: int) -> dict[str, Any]:
    with closing(machine.log()) as log:
        manifest = read_manifest(log, pipeline.name)
        found = explain(log, pipeline, manifest, machine.state, f"0@{offset}", version=version)
        assert isinstance(found, Explanation)
        return found.seen


def _says(model: Any, features: dict[str, Any], pipeline: Pipeline) -> Any:
    features = dict(sorted(features.items()))
    if pipeline is sums:
        return model.predict_one(features)
    said = model.predict_proba_one(features)
    return said if pipeline is kinds else pipeline.task.take(said)[2]


def _said(row: dict[str, Any], pipeline: Pipeline) -> Any:
    name = {"sums": "prediction", "kinds": "probabilities"}.get(pipeline.name, "probability")
    return row.get(name, {} if pipeline is kinds else None)


def test_a_loaded_model_says_digit_for_digit_what_live_said_next(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    machine, pipeline = ran
    for version in pipeline.versions:
        if version == "gusty":
            continue  # a class of the tests' own, which is looked at below
        rows = [r for r in _rows(machine, pipeline, version, "prediction") if r["learned"]]
        for row in rows[:: max(1, len(rows) // SAMPLES)]:
            offset = row["source"]["offset"]
            path = tmp_path / f"{version}-{offset}.stream-model"
            done = _export(machine, pipeline, version, path, at=f"0@{offset}")
            assert done.header.origin is not None
            assert done.header.origin.next_offset == offset
            key = {"key": row["key"]} if pipeline is by_key else {}
            model = _load(machine, path, **key)
            features = _seen(machine, pipeline, version, offset)
            assert _says(model, features, pipeline) == _said(row, pipeline)


def test_the_digest_in_a_file_is_the_one_that_live_put_out(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    machine, pipeline = ran
    for version in pipeline.versions:
        rows = _rows(machine, pipeline, version, "state_digest")
        assert rows
        for row in rows[:: max(1, len(rows) // SAMPLES)]:
            path = tmp_path / f"{version}.stream-model"
            origin = _export(
                machine, pipeline, version, path, at=str(row["next_offset"])
            ).header.origin
            assert origin is not None
            assert (origin.state_digest, origin.chain) == (row["digest"], row["chain"])


def test_the_same_state_and_key_give_the_same_bytes(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    machine, pipeline = ran
    end = machine.commit(pipeline).next_offset
    for version in pipeline.versions:
        paths = [tmp_path / f"{version}{i}" for i in range(3)]
        for path, at in zip(paths, ("latest", "latest", f"0@{end}"), strict=True):
            done = _export(machine, pipeline, version, path, at=at)
            assert done.folded == 0
        assert len({path.read_bytes() for path in paths}) == 1


def test_an_export_replaces_an_older_one_of_its_version_and_nothing_else(
    ran: tuple[KeepingMachine, Pipeline], tmp_path: Path
) -> None:
    machine, pipeline = ran
    one, other = list(pipeline.versions)[:2]
    path = tmp_path / "m.stream-model"
    _export(machine, pipeline, one, path, at="0@10")
    _export(machine, pipeline, one, path)
    held = path.read_bytes()
    with pytest.raises(UsageError, match=f"has {one} of {pipeline.name}, not {other} of"):
        _export(machine, pipeline, other, path)
    with pytest.raises(UsageError, match="not a model that was trained elsewhere"):
        pack_model(
            linear_model.LogisticRegression(), path, task=Binary(), state=str(machine.state.root)
        )
    assert path.read_bytes() == held


def test_a_file_is_for_its_owner_alone_until_somebody_gives_it_away(
    storm: KeepingMachine, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    before = os.umask(0)
    try:
        _export(storm, side_by_side, "linear", path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


def test_kept_checkpoints_are_exported_by_name_and_nothing_is_folded(
    storm: KeepingMachine, tmp_path: Path
) -> None:
    machine = KeepingMachine(storm.copy(tmp_path / "machine").root, 200)
    entry = machine.kept(side_by_side).entries()[2]
    named = entry.path.rename(entry.path.with_name(f"{entry.path.name}.before-the-storm"))
    done = _export(machine, side_by_side, "tree", tmp_path / "m", at="before-the-storm")
    assert (done.checkpoint, done.folded) == (named, 0)
    assert done.header.origin is not None
    assert done.header.origin.next_offset == entry.next_offset
    with pytest.raises(UsageError, match="did you mean before-the-storm"):
        _export(machine, side_by_side, "tree", tmp_path / "m", at="before-the-stom")


def test_what_cannot_be_exported_is_named(storm: KeepingMachine, tmp_path: Path) -> None:
    path, end = tmp_path / "m", storm.commit(side_by_side).next_offset
    cases: list[tuple[str, dict[str, Any], type[StreamAppError], str]] = [
        ("v9", {}, UsageError, "has no version 'v9'"),
        ("tree", {"at": f"0@{end + 1}"}, UsageError, f"has come to {end} only"),
        ("tree", {"at": "1@5"}, UsageError, "no partition 1"),
        ("tree", {"at": "5", "partition": 3}, UsageError, "no partition 3"),
        ("tree", {"at": "0@5", "partition": 1}, UsageError, "--partition 1"),
        ("tree", {"at": "gusts.events/0@5"}, UsageError, "no position of storm.events"),
    ]
    for version, more, kind, words in cases:
        with pytest.raises(kind, match=words):
            _export(storm, side_by_side, version, path, **more)
    path.write_text("my thesis")
    with pytest.raises(UsageError, match="is no file that stream-app export has written"):
        _export(storm, side_by_side, "tree", path)
    assert path.read_text() == "my thesis"


def test_without_a_checkpoint_a_position_is_still_exported(
    storm: KeepingMachine, tmp_path: Path
) -> None:
    machine = Machine(storm.copy(tmp_path / "machine").root)
    _export(machine, side_by_side, "tree", tmp_path / "one", at="0@700")
    path = machine.state_path(side_by_side)
    for each in (path, path.with_name("0.kept")):
        each.rename(each.with_name(f"gone-{each.name}"))
    with pytest.raises(StateUnavailable, match="no checkpoint of tree") as caught:
        _export(machine, side_by_side, "tree", tmp_path / "two")
    assert "--at 0@" in caught.value.attempt
    done = _export(machine, side_by_side, "tree", tmp_path / "two", at="0@700")
    assert done.checkpoint is None
    heads = []
    for name in ("one", "two"):
        with opened_model_file(tmp_path / name) as (header, _):
            heads.append(header.origin)
    assert heads[0] == heads[1]


def test_a_running_worker_is_exported_from_and_does_not_notice(
    stormy: Stormy, tmp_path: Path
) -> None:
    machine = stormy(side_by_side).copy(tmp_path / "machine")
    with (
        closing(machine.log()) as log,
        closing(machine.open(log, side_by_side, pace=EveryNth(3))) as host,
    ):
        exported = []
        while host.step(100):
            if host.next_offset > 600:
                done = _export(machine, side_by_side, "tree", tmp_path / "m")
                assert done.header.origin is not None
                exported.append(done.header.origin.next_offset)
        host.finish()
    assert len(set(exported)) > 2
    undisturbed = stormy(side_by_side).copy(tmp_path / "other")
    undisturbed.run(side_by_side)
    assert machine.outcome(side_by_side) == undisturbed.outcome(side_by_side)


def test_a_model_of_the_users_own_class_needs_the_file_that_declares_it(
    stormy: Stormy, tmp_path: Path
) -> None:
    machine = stormy(by_key).copy(tmp_path / "machine")
    machine.run(by_key, until=400)
    path = tmp_path / "m"
    header = _export(machine, by_key, "gusty", path).header
    assert header.own == ["tests.recovery.brittle:Gusty"]
    with opened_model_file(path) as (_, entries):
        key = next(iter(entries())).key
    with pytest.raises(UsageError, match="code of yours: tests") as caught:
        _load(machine, path, key=key)
    assert 'pipeline="flights.py"' in caught.value.attempt
    model = _load(machine, path, key=key, pipeline="tests.recovery.pipelines:by_key")
    assert type(model) is Gusty
    with pytest.raises(UsageError, match="one model for each key"):
        _load(machine, path, pipeline="tests.recovery.pipelines:by_key")
    with pytest.raises(UsageError, match="no model of the key 'nobody'"):
        _load(machine, path, key="nobody", pipeline="tests.recovery.pipelines:by_key")


# --- trust --------------------------------------------------------------------------------------


@pytest.fixture
def made(storm: KeepingMachine, tmp_path: Path) -> Path:
    path = tmp_path / "linear.stream-model"
    _export(storm, side_by_side, "linear", path)
    return path


def test_a_file_of_an_unknown_key_is_refused_until_the_key_is_named(
    made: Path, tmp_path: Path, storm: KeepingMachine
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    [public] = storm.state.own_public_keys()
    with pytest.raises(StateUntrusted, match="signed by the key k1") as caught:
        load_model(made, state=elsewhere)
    assert f'public_key="{public}"' in caught.value.attempt
    assert load_model(str(made), state=elsewhere, public_key=public)
    with pytest.raises(StateUntrusted, match="not by"):
        load_model(made, state=str(storm.state.root), public_key="0" * 64)
    with pytest.raises(UsageError, match="is no public key"):
        load_model(made, public_key="k1")


def test_every_changed_byte_and_every_cut_is_found_before_anything_is_unpickled(
    made: Path, storm: KeepingMachine
) -> None:
    whole = made.read_bytes()
    lines = len(whole) - len(whole.split(b"\n", 3)[3])
    chance = random.Random(1)
    places = [*range(lines), *(chance.randrange(lines, len(whole)) for _ in range(200))]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        made.write_bytes(changed)
        with pytest.raises((StateUntrusted, UsageError)):
            _load(storm, made)
    for length in [*range(0, lines, 7), *(chance.randrange(lines, len(whole)) for _ in range(50))]:
        made.write_bytes(whole[:length])
        with pytest.raises((StateUntrusted, UsageError)):
            _load(storm, made)
    made.write_bytes(whole + b"\0")
    with pytest.raises(StateUntrusted, match="not the ones that were signed"):
        _load(storm, made)
    made.write_bytes(whole)
    assert _load(storm, made)


@pytest.mark.parametrize("content", [b"", b"my thesis\n", b"\x80\x05K\x01."])
def test_a_foreign_file_is_named(made: Path, storm: KeepingMachine, content: bytes) -> None:
    made.write_bytes(content)
    with pytest.raises(UsageError, match="no file that stream-app export has written") as caught:
        _load(storm, made)
    assert "pack_model" in caught.value.attempt
    with pytest.raises(UsageError, match="there is no file"):
        _load(storm, made.with_name("nowhere.stream-model"))


def _signed_anew(path: Path, storm: Machine, **changes: Any) -> None:
    with opened_model_file(path) as (header, _):
        pass
    content = path.read_bytes().split(b"\n", 3)[3]
    header = msgspec.structs.replace(header, **changes)
    path.write_bytes(encode_head(header, storm.state.signing_key()) + content)


def test_a_file_of_a_later_release_or_of_another_environment_is_refused_by_name(
    made: Path, storm: KeepingMachine
) -> None:
    with opened_model_file(made) as (header, _):
        now = header.environment
    _signed_anew(made, storm, format=2)
    with pytest.raises(StateUntrusted, match="format 2; this release reads up to 1"):
        _load(storm, made)
    for name, value in (("river", "0.1.0"), ("python", "3.0"), ("numpy", "1.0")):
        made.unlink()
        _export(storm, side_by_side, "linear", made)
        _signed_anew(made, storm, environment=msgspec.structs.replace(now, **{name: value}))
        with pytest.raises(EnvironmentDiffers, match=f"under {name} {value}") as caught:
            _load(storm, made)
        assert value in caught.value.attempt


def test_a_signed_file_whose_bytes_name_what_is_not_listed_calls_nothing(
    made: Path, storm: KeepingMachine
) -> None:
    evil = b"cos\nsystem\n(S'touch /tmp/never'\ntR."
    content = encode_entry(Entry("", 1, evil))
    digest = hashlib.sha256(content).hexdigest()
    _signed_anew(made, storm, content_bytes=len(content), content_sha256=digest)
    head = made.read_bytes().split(b"\n", 3)[:3]
    made.write_bytes(b"\n".join(head) + b"\n" + content)
    with pytest.raises(StateUntrusted, match="refused"):
        _load(storm, made)


def test_what_says_nothing_about_a_file_is_refused(made: Path, storm: KeepingMachine) -> None:
    with pytest.raises(UsageError, match="`version` chooses nothing"):
        _load(storm, made, version="linear")
    with pytest.raises(UsageError, match="one model for all keys"):
        _load(storm, made, key="EWR")
    with pytest.raises(UsageError, match="go with a file"):
        load_model("storm", public_key="0" * 64)


# --- models that were trained elsewhere ---------------------------------------------------------


def test_a_model_trained_elsewhere_is_packed_and_says_the_same(tmp_path: Path) -> None:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    chance = random.Random(3)
    for _ in range(200):
        x = {"a": chance.gauss(0, 1), "b": chance.gauss(1, 2)}
        model.learn_one(x, x["a"] > x["b"])
    path, state = tmp_path / "mine.stream-model", str(tmp_path / "state")
    pack_model(model, path, task=Binary(), features=["b", "a"], learned=200, state=state)
    with opened_model_file(path) as (header, _):
        assert (header.origin, header.features, header.learned) == (None, ["a", "b"], 200)
    loaded = load_model(path, state=state)
    for _ in range(20):
        x = {"a": chance.gauss(0, 1), "b": chance.gauss(1, 2)}
        assert loaded.predict_proba_one(x) == model.predict_proba_one(x)
    with pytest.raises(StateUntrusted, match="signed by the key"):
        load_model(path, state=str(tmp_path / "other"))


def test_a_packed_model_of_the_users_own_class_is_loaded_with_its_file(tmp_path: Path) -> None:
    path, state = tmp_path / "mine.stream-model", str(tmp_path / "state")
    gusty = Gusty()
    gusty.total = 0.7
    pack_model(gusty, path, task=Binary(), state=state)
    with pytest.raises(UsageError, match="code of yours"):
        load_model(path, state=state)
    loaded = load_model(path, state=state, pipeline="tests.recovery.pipelines:by_key")
    assert loaded.total == 0.7


def test_what_cannot_be_packed_exactly_is_refused(tmp_path: Path) -> None:
    path, state = tmp_path / "mine.stream-model", str(tmp_path / "state")
    holding: Any = linear_model.LogisticRegression()
    holding.notes = (line for line in "ab")
    cases: list[tuple[Any, Any, str]] = [
        (holding, Binary(), "cannot be saved exactly"),
        (neighbors.KNNClassifier(engine=neighbors.SWINN()), Binary(), "SWINN is refused"),
        (linear_model.LogisticRegression, Binary(), "is a class"),
        (linear_model.LinearRegression(), Binary(), "is no classifier"),
        (linear_model.LogisticRegression(), "binary", "expected a task"),
    ]
    for model, task, words in cases:
        with pytest.raises(UsageError, match=words):
            pack_model(model, path, task=task, state=state)
    assert not path.exists()
