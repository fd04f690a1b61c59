"""A version that begins from a file: its state is a fold of the log all the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import linear_model, preprocessing, tree

from stream_app import pack_model
from stream_app.codec.signatures import public_key
from stream_app.core.environment import Environment, this_environment
from stream_app.core.importing import FILE_BYTES_MAX, FileOrder
from stream_app.core.model_file import Entry, ModelHeader, decode_head
from stream_app.core.pipeline import Pipeline, Version
from stream_app.core.rehearsal import SEAL
from stream_app.core.topics import Topics
from stream_app.errors import (
    DefinitionDiffers,
    EnvironmentDiffers,
    LogUntrusted,
    StateUntrusted,
    UsageError,
    VersionFailed,
)
from stream_app.events import Control, Label, Observation
from stream_app.hosts.blob_topic import PIECE_BYTES, BlobTopic
from stream_app.hosts.controls import Signer
from stream_app.hosts.driver import _TEST_KEY
from stream_app.hosts.import_orders import import_orders, require_imported_as
from stream_app.hosts.importing import import_file
from stream_app.hosts.model_files import write_model_file
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import KEY_NAME, StateDirectory
from stream_app.learning.digests import structural_digest
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.tasks import Binary
from stream_app.outputs import AnyOutput, DeadLetter, Evaluation, Prediction, StateDigest
from stream_app.records import NewRecord
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from stream_app.testing import Driver
from tests.core.users_models import Counting

PRIVATE = bytes(range(32))


def scaled() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def pipeline(champion: str = "v1", model: Any = None, **more: Any) -> Pipeline:
    return Pipeline(
        "p",
        task=Binary(),
        features={"a": float},
        versions={
            "v1": Version(scaled()),
            "tuned": Version(scaled() if model is None else model, start="file"),
        },
        initial_champion=champion,
        metrics={},
        **more,
    )


def examples(n: int, seed: int = 1, key: str | None = None) -> Iterator[Observation]:
    chance = random.Random(seed)
    for i in range(n):
        a = chance.gauss(0, 1)
        yield Observation(f"{seed}-{i}", i, {"a": a}, key, a + chance.gauss(0, 0.5) > 0)


def trained(model: Any, n: int = 200, seed: int = 9) -> Any:
    for event in examples(n, seed):
        model.learn_one(event.features, event.label)
    return model


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    """The state directory of whoever sits in this directory."""
    monkeypatch.chdir(tmp_path)
    return StateDirectory(Path(".stream-app/state"))


@pytest.fixture
def packed(state: StateDirectory, tmp_path: Path) -> Path:
    path = tmp_path / "tuned.stream-model"
    model = trained(pipeline().untrained("tuned"))
    pack_model(model, path, task=Binary(), features=["a"], learned=200, state=str(state.root))
    return path


def own(outputs: list[AnyOutput], version: str = "tuned") -> list[Prediction]:
    return [o for o in outputs if isinstance(o, Prediction) and o.version == version]


# --- what it says -------------------------------------------------------------------------------


def test_a_version_says_nothing_until_its_file_and_then_what_the_files_model_says(
    packed: Path,
) -> None:
    alone = trained(pipeline().untrained("tuned"))
    with Driver(pipeline()) as driver:
        before = own(driver.send(*examples(5)))
        driver.import_file("tuned", packed)
        after = own(driver.send(*examples(20, seed=2)))
    assert [(said.prediction, said.null_reason, said.learned) for said in before] == [
        (None, "untrained", 0)
    ] * 5
    for said, event in zip(after, examples(20, seed=2), strict=True):
        assert said.probability == alone.predict_proba_one(event.features)[True]
        alone.learn_one(event.features, event.label)
    assert [said.learned for said in after] == list(range(200, 220))


def test_what_was_observed_before_the_file_is_learned_when_its_label_comes_after_it(
    packed: Path,
) -> None:
    with Driver(pipeline()) as driver:
        driver.send(Observation("early", 1, {"a": 0.5}), Observation("other", 1, {"a": 0.1}))
        driver.send(Label("other", 2, True))
        driver.import_file("tuned", packed)
        driver.send(Label("early", 3, True))
        [said] = own(driver.send(Observation("late", 4, {"a": 0.5})))
        alone = trained(pipeline().untrained("tuned"))
        alone.learn_one({"a": 0.5}, True)
        assert said.learned == 201
        assert structural_digest(driver.model("tuned"), {}) == structural_digest(alone, {})


def test_what_came_before_the_file_is_neither_learned_nor_scored(
    state: StateDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "keyed.stream-model"
    write(path, state, [Entry("x", 7, ModelPickles({}).dumps(scaled()))], keyed=True)
    with Driver(pipeline(model_per="key", evaluate_every=1)) as driver:
        outputs = driver.send(*examples(3, key="y"))
        assert not [o for o in outputs if isinstance(o, Evaluation) and o.version == "tuned"]
        driver.import_file("tuned", path)
        [said] = own(driver.send(*examples(1, seed=2, key="y")))
        [evaluation] = driver.outputs("shadow.tuned")[-1:]
        assert isinstance(evaluation, Evaluation)
        assert (said.learned, evaluation.scored, evaluation.window) == (0, 1, 1)
        [said] = own(driver.send(*examples(1, seed=3, key="x")))
        assert said.learned == 7


def test_checkpoints_around_the_file_change_nothing(packed: Path) -> None:
    def folded(*, saves: bool) -> list[Prediction]:
        with Driver(pipeline(digest_every=2)) as driver:
            driver.send(*examples(2))  # a digest has looked at the untrained model
            if saves:
                driver.checkpoint()
            driver.import_file("tuned", packed)
            if saves:
                driver.checkpoint()
            return own(driver.send(*examples(5, seed=2)))

    assert folded(saves=True) == folded(saves=False)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("crash", ["before the file", "after the file", "later"])
def test_a_crash_around_the_file_changes_nothing(packed: Path, crash: str, saved: bool) -> None:
    def folded(dies: str) -> list[AnyOutput]:
        with Driver(pipeline(digest_every=7)) as driver:

            def maybe(here: str) -> None:
                if here == dies:
                    if saved:
                        driver.checkpoint()
                    driver.crash()

            driver.send(*examples(10))
            maybe("before the file")
            driver.import_file("tuned", packed)
            maybe("after the file")
            driver.send(*examples(10, seed=2))
            maybe("later")
            driver.send(*examples(10, seed=3))
            # The order's id is drawn, and its record is in the chain.
            return [
                msgspec.structs.replace(said, chain="") if isinstance(said, StateDigest) else said
                for said in driver.outputs()
            ]

    assert folded(crash) == folded("")


def test_the_digest_tells_from_which_file_before_anything_is_learned(
    packed: Path, state: StateDirectory, tmp_path: Path
) -> None:
    other = tmp_path / "other.stream-model"
    model = trained(pipeline().untrained("tuned"), n=199)
    pack_model(model, other, task=Binary(), learned=199, state=str(state.root))

    def digest(path: Path | None) -> bytes:
        with Driver(pipeline()) as driver:
            if path is not None:
                driver.import_file("tuned", path)
            [fold] = [f for f in driver._host.processor.versions if f.name == "tuned"]
            return fold.digest()

    assert len({digest(None), digest(packed), digest(other)}) == 3
    assert digest(packed) == digest(packed)


def test_who_does_not_run_the_version_makes_the_same_of_the_record(packed: Path) -> None:
    with Driver(pipeline()) as with_it:
        with_it.send(*examples(3))
        with_it.import_file("tuned", packed)
        with_it.send(*examples(3, seed=2))
        log, manifest = with_it.log, with_it._manifest
        alone = PartitionHost(
            log, pipeline(), manifest, 0, open_store=MemoryStore, seal=SEAL, versions=["v1"]
        )
        while alone.relearning:
            alone.step()
        live = with_it._host.processor
        assert alone.processor.chain == live.chain
        assert alone.processor.acceptance.digest() == live.acceptance.digest()
        assert live.acceptance.counters.controls == 1
        assert with_it.outputs("dead-letters") == []


def test_a_version_begins_once_whatever_is_ordered_later(packed: Path) -> None:
    with Driver(pipeline()) as driver:
        file = {"sha256": "0" * 64, "size": 1, "offset": 0}
        assert driver._order("import", 1, version="v1", file=file) == []
        assert driver._order("import", 1, version="gone", file=file) == []
        driver.import_file("tuned", packed)
        driver.send(*examples(10))
        learned = structural_digest(driver.model("tuned"), {})
        assert driver._order("import", 1, version="tuned", file=file) == []
        assert structural_digest(driver.model("tuned"), {}) == learned


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"file": {"sha256": "0" * 64, "size": 1, "offset": 0}}, "version"),
        ({"version": "No!", "file": {"sha256": "0" * 64, "size": 1, "offset": 0}}, "version"),
        ({"version": "tuned"}, "file"),
        ({"version": "tuned", "file": {"sha256": "0" * 63, "size": 1, "offset": 0}}, "file"),
        ({"version": "tuned", "file": {"sha256": "0" * 64 + "\n", "size": 1, "offset": 0}}, "file"),
        ({"version": "tuned", "file": {"sha256": "0" * 64, "size": 0, "offset": 0}}, "file"),
        ({"version": "tuned", "file": {"sha256": "0" * 64, "size": 1 << 40, "offset": 0}}, "file"),
        ({"version": "tuned", "file": {"sha256": "0" * 64, "size": 1, "offset": -1}}, "file"),
        ({"version": "tuned", "file": {"sha256": "0" * 64, "size": 1}}, "file"),
        (
            {"version": "tuned", "file": {"sha256": "0" * 64, "size": 1, "offset": 0, "x": 1}},
            "file",
        ),
    ],
)
def test_an_order_without_its_form_is_a_dead_letter(fields: Any, wrong: str) -> None:
    with Driver(pipeline()) as driver:
        [letter] = driver._order("import", 1, **fields)
        assert isinstance(letter, DeadLetter)
        assert (letter.reason, letter.field) == ("bad_import", wrong)


# --- files that do not fit ----------------------------------------------------------------------


def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(
    packed: Path, state: StateDirectory, tmp_path: Path
) -> None:
    other = pipeline(model=linear_model.LogisticRegression(l2=0.1))
    with Driver(other) as driver, pytest.raises(UsageError, match="does not fit tuned: model"):
        driver.import_file("tuned", packed)
    with Driver(pipeline(model_per="key")) as driver, pytest.raises(UsageError, match="number of"):
        driver.import_file("tuned", packed)
    featured = tmp_path / "featured.stream-model"
    model = trained(scaled())
    pack_model(model, featured, task=Binary(), features=["b"], state=str(state.root))
    with Driver(pipeline()) as driver:
        with pytest.raises(UsageError, match="its features is b, and that of tuned is a"):
            driver.import_file("tuned", featured)
        with pytest.raises(UsageError, match=r"has no version .tund., only .*; did you mean tuned"):
            driver.import_file("tund", packed)
        with pytest.raises(UsageError, match="v1 of p begins untrained"):
            driver.import_file("v1", packed)
        assert driver.log.bounds(Topics("p").blobs, 0) == (0, 0)
        assert driver.log.bounds("p.events", 0) == (0, 0)


def test_a_tree_trained_with_what_is_switched_off_here_is_told_which_model_to_train(
    state: StateDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "tree.stream-model"
    declared = pipeline(model=tree.HoeffdingTreeClassifier(grace_period=10))
    pack_model(
        trained(tree.HoeffdingTreeClassifier(grace_period=10)),
        path,
        task=Binary(),
        state=str(state.root),
    )
    with Driver(declared) as driver, pytest.raises(UsageError) as raised:
        driver.import_file("tuned", path)
    assert "max_depth" in raised.value.problem or "memory_estimate_period" in raised.value.problem
    assert 'pipeline.untrained("tuned")' in raised.value.attempt
    again = tmp_path / "again.stream-model"
    pack_model(trained(declared.untrained("tuned")), again, task=Binary(), state=str(state.root))
    with Driver(declared) as driver:
        driver.import_file("tuned", again)
        assert own(driver.send(*examples(1)))[0].null_reason is msgspec.UNSET


def test_another_file_for_a_version_that_has_begun_is_refused_and_the_same_one_is_not(
    packed: Path, state: StateDirectory, tmp_path: Path
) -> None:
    other = tmp_path / "other.stream-model"
    pack_model(trained(scaled(), n=3), other, task=Binary(), state=str(state.root))
    with Driver(pipeline()) as driver:
        driver.import_file("tuned", packed)
        end = driver.log.bounds("p.events", 0)
        driver.import_file("tuned", packed)
        with pytest.raises(UsageError, match="begins from another file"):
            driver.import_file("tuned", other)
        assert driver.log.bounds("p.events", 0) == end


def test_a_file_of_an_unknown_key_is_imported_only_where_the_key_is_named(
    packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with packed.open("rb") as file:
        shown = decode_head(file.readline, "it").public_key
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with Driver(pipeline()) as driver:
        with pytest.raises(StateUntrusted, match="which is none of those"):
            driver.import_file("tuned", packed)
        driver.import_file("tuned", packed, public_key=shown)
        assert own(driver.send(*examples(1)))[0].learned == 200


def test_a_file_that_somebody_with_the_key_orders_though_it_does_not_fit_fails_the_version_alone(
    state: StateDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "keyed.stream-model"
    image = ModelPickles({}).dumps(scaled())
    write(path, state, [Entry("x", 1, image)], keyed=True)
    with Driver(pipeline()) as driver:
        driver.send(*examples(3))
        order = msgspec.to_builtins(BlobTopic(driver.log, "p").append(path.read_bytes()))
        driver._order("import", 1, version="tuned", file=order)
        said = own(driver.send(*examples(2, seed=2)))
        assert [each.null_reason for each in said] == ["failed", "failed"]
        assert driver._host.commit is not None
        assert "number of models" in driver._host.commit.failed["tuned"]
        assert own(driver.send(*examples(1, seed=3)), "v1")[0].null_reason is msgspec.UNSET
    with Driver(pipeline(champion="tuned")) as driver:
        order = msgspec.to_builtins(BlobTopic(driver.log, "p").append(path.read_bytes()))
        with pytest.raises(VersionFailed, match=r"the champion, failed at p\.events/0@0"):
            driver._order("import", 1, version="tuned", file=order)


def test_a_file_of_another_environment_is_refused(state: StateDirectory, tmp_path: Path) -> None:
    path = tmp_path / "older.stream-model"
    older = msgspec.structs.replace(this_environment(), river="0.0.1")
    write(path, state, [Entry("", 1, ModelPickles({}).dumps(scaled()))], environment=older)
    with Driver(pipeline()) as driver, pytest.raises(EnvironmentDiffers, match=r"river 0\.0\.1"):
        driver.import_file("tuned", path)


def write(
    path: Path,
    state: StateDirectory,
    entries: list[Entry],
    *,
    keyed: bool = False,
    environment: Environment | None = None,
) -> None:
    private = state.signing_key()
    header = ModelHeader(
        origin=None,
        environment=environment or this_environment(),
        task=Binary().fields(),
        features=["a"],
        keyed=keyed,
        models=0,
        learned=0,
        content_bytes=0,
        content_sha256="",
        created_by="a test",
        key_name=KEY_NAME,
        public_key=public_key(private).hex(),
    )
    write_model_file(path, header, entries, private)


def test_code_of_the_users_own_comes_with_the_declaration(
    state: StateDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "own.stream-model"
    model = Counting()
    model.learned = 3
    pack_model(model, path, task=Binary(), state=str(state.root))
    with Driver(pipeline(model=Counting())) as driver:
        driver.import_file("tuned", path)
        assert own(driver.send(*examples(1)))[0].probability == 0.75
    with Driver(pipeline()) as driver, pytest.raises(StateUntrusted, match="no longer has"):
        driver.import_file("tuned", path)


# --- the file in the log ------------------------------------------------------------------------


def test_a_file_of_many_pieces_is_read_back_among_others(packed: Path) -> None:
    log = MemoryLog(log_id="pieces")
    blobs = BlobTopic(log, "p")
    data = [random.Random(i).randbytes(PIECE_BYTES * 9 + i) for i in range(3)]
    orders = [blobs.append(each) for each in data]
    assert [blobs.read(order) for order in orders] == data
    changed = msgspec.structs.replace(orders[1], size=orders[1].size - 1)
    with pytest.raises(LogUntrusted, match="its bytes are other ones"):
        blobs.read(changed)
    with pytest.raises(LogUntrusted, match="piece 0 of 1 is not there"):
        blobs.read(FileOrder("0" * 64, 1, 0))
    with pytest.raises(LogUntrusted, match="piece 0 of 1 is not there"):
        BlobTopic(log, "another").read(FileOrder("0" * 64, 1, 0))


def test_a_fold_whose_file_is_gone_stops_and_goes_on_once_it_is_back(packed: Path) -> None:
    with Driver(pipeline()) as driver:
        driver.send(*examples(3))
        file = {"sha256": "0" * 64, "size": 5, "offset": 0}
        with pytest.raises(LogUntrusted, match=r"cannot be read from p\.blobs"):
            driver._order("import", 1, version="tuned", file=file)
        assert driver._host.commit is not None
        assert driver._host.commit.next_offset == 3


def test_the_size_of_a_file_is_bounded_by_name(packed: Path) -> None:
    with packed.open("r+b") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with Driver(pipeline()) as driver, pytest.raises(UsageError, match="at most 268,435,456"):
        driver.import_file("tuned", packed)


def test_a_model_for_each_key_goes_to_the_partition_of_its_key(
    state: StateDirectory, tmp_path: Path
) -> None:
    path, keys = tmp_path / "keyed.stream-model", [f"k{i}" for i in range(12)]
    images = [ModelPickles({}).dumps(trained(scaled(), n=5, seed=i)) for i in range(12)]
    entries = [Entry(key, 5, image) for key, image in zip(keys, images, strict=True)]
    write(path, state, entries, keyed=True)
    declared = pipeline(model_per="key", labels=None)
    with closing(MemoryLog(log_id="two")) as log:
        manifest = register(
            log, declared, lambda: {KEY_NAME: public_key(PRIVATE).hex()}, partitions=2
        )

        def signer() -> Signer:
            return Signer(KEY_NAME, PRIVATE)

        done = import_file(log, declared, manifest, state, signer, "tuned", path)
        assert done.places == import_orders(log, manifest, "tuned").places == {0: 0, 1: 0}
        held = []
        for partition in (0, 1):
            host = PartitionHost(
                log, declared, manifest, partition, open_store=MemoryStore, seal=SEAL
            )
            while host.step():
                pass
            host.checkpoint()
            fold = next(f for f in host.processor.versions if f.name == "tuned")
            held.append({key: learned for key, learned, _ in fold.models.stored()})
            assert fold.learned == 5 * len(held[-1])
            host.close()
        assert all(held)
        assert sorted([*held[0], *held[1]]) == sorted(keys)
        assert not held[0].keys() & held[1].keys()


def test_a_file_is_imported_only_for_the_definition_that_the_log_knows(
    packed: Path, state: StateDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "tree.stream-model"
    other = pipeline(model=tree.HoeffdingTreeClassifier())
    pack_model(trained(other.untrained("tuned")), path, task=Binary(), state=str(state.root))
    with Driver(pipeline()) as driver:
        driver.send(*examples(5))
        driver.pipeline = other
        with pytest.raises(DefinitionDiffers, match="but the log has outputs of tuned as"):
            driver.import_file("tuned", path)
        driver.pipeline = pipeline()
        driver.import_file("tuned", packed)
        driver.pipeline = other
        with pytest.raises(DefinitionDiffers, match="log has outputs of tuned as"):
            driver.import_file("tuned", packed)


def test_a_version_fails_where_its_file_was_imported_for_another_definition(packed: Path) -> None:
    with Driver(pipeline()) as driver:
        order = BlobTopic(driver.log, "p").append(packed.read_bytes())
        file = {**msgspec.to_builtins(order), "definition": "0" * 64}
        driver._order("import", 1, version="tuned", file=file)
        [said] = own(driver.send(*examples(1)))
        assert said.null_reason == "failed"
        [fold] = [fold for fold in driver._host.processor.versions if fold.name == "tuned"]
        assert "its definition is 000000000000, and that of tuned is" in str(fold.failed)


def test_a_backfill_refuses_a_file_that_was_imported_for_another_definition(
    packed: Path, state: StateDirectory
) -> None:
    other = pipeline(model=tree.HoeffdingTreeClassifier())
    with Driver(pipeline()) as driver:
        manifest = driver._manifest
        require_imported_as(other, import_orders(driver.log, manifest, "tuned"))
        driver.import_file("tuned", packed)
        orders = import_orders(driver.log, manifest, "tuned")
        require_imported_as(pipeline(), orders)
        with pytest.raises(DefinitionDiffers, match="that it begins from was imported for"):
            require_imported_as(other, orders)


def test_an_order_whose_key_was_revoked_just_before_is_given_again_by_the_key_of_now(
    packed: Path, state: StateDirectory
) -> None:
    second = bytes(range(1, 33))
    with Driver(pipeline()) as driver:
        first = Signer(KEY_NAME, _TEST_KEY)
        new = {"k2": public_key(second).hex(), first.name: None}
        asked = 0

        def signer() -> Signer:
            nonlocal asked
            asked += 1
            if asked == 1:  # somebody rotates the keys while the file goes into the log
                driver._order("key", 1, public_keys=new)
                return first
            return Signer("k2", second)

        place = (driver.log, driver.pipeline, driver._manifest, state, signer, "tuned", packed)
        import_file(*place, ts_ms=1)
        letters = [said for said in driver._process() if isinstance(said, DeadLetter)]
        assert [letter.reason for letter in letters] == ["revoked_key"]
        assert own(driver.send(*examples(1)))[0].learned == 200
        end = driver.log.bounds("p.events", 0)
        assert not import_file(*place, ts_ms=1).changed
        assert driver.log.bounds("p.events", 0) == end


def test_which_order_a_partition_has_obeyed_is_known_after_a_crash_and_whoever_runs_it(
    packed: Path,
) -> None:
    file = {"sha256": "0" * 64, "size": 1, "offset": 0}
    with Driver(pipeline()) as driver:
        driver._order("import", 1, version="gone", file=file)
        driver.send(*examples(2))
        driver.import_file("tuned", packed)
        driver.checkpoint()
        driver.crash()
        driver._order("import", 1, version="gone", file=file)
        driver.send(*examples(2, seed=2))
        assert driver._host.commit is not None
        assert driver._host.commit.imports == {"gone": 0, "tuned": 3}


def test_a_version_that_began_from_an_order_without_a_note_is_not_ordered_to_begin(
    packed: Path,
) -> None:
    with Driver(pipeline()) as driver:
        order = msgspec.to_builtins(BlobTopic(driver.log, "p").append(packed.read_bytes()))
        driver._order("import", 1, version="tuned", file=order)
        with pytest.raises(UsageError, match="tuned of p begins from another file, and a version"):
            driver.import_file("tuned", packed)


def test_a_piece_of_a_file_that_somebody_adds_later_changes_nothing(packed: Path) -> None:
    with closing(MemoryLog(log_id="one")) as log:
        blobs = BlobTopic(log, "p")
        order = blobs.append(packed.read_bytes())
        log.append(Topics("p").blobs, [NewRecord(f"{order.sha256}/0".encode(), b"other")])
        assert blobs.read(order) == packed.read_bytes()


def test_controls_of_a_copied_log_order_nothing(packed: Path) -> None:
    with Driver(pipeline()) as one:
        one.import_file("tuned", packed)
        [record] = one.log.read("p.events", 0, 0, records_max=1)
    with Driver(pipeline()) as other:
        [letter] = other.send_bytes(record.value)
        assert isinstance(letter, DeadLetter)
        assert letter.reason == "bad_signature"


def test_an_evaluation_without_a_log_says_that_there_is_no_file() -> None:
    with pytest.raises(UsageError, match="begins from a file"):
        pipeline().evaluate([({"a": 1.0}, True)], version="tuned")


def test_a_control_of_an_import_is_signed_over_its_file() -> None:
    control = Control("import-1", 1, "import", version="tuned", file={"sha256": "x"})
    assert msgspec.json.decode(msgspec.json.encode(control))["file"] == {"sha256": "x"}
