"""The processor: identities of outputs, silence, images, poison; the same bytes in every role."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from river import linear_model, naive_bayes, preprocessing

from stream_app.codec.blobs import BlobSeal
from stream_app.codec.encode import encode_event
from stream_app.codec.partitioning import partition_of
from stream_app.core.commit import Commit
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.position import read_position
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover
from stream_app.core.rehearsal import SEAL, rehearsal_manifest, rehearsal_processor
from stream_app.errors import StateUntrusted
from stream_app.events import Label, Observation
from stream_app.learning.tasks import Binary
from stream_app.records import Record
from stream_app.storage.memory_store import MemoryStore
from tests.core.history import History, values
from tests.core.users_models import Exhausting

# State digests cover one key in 64; these are among them.
SAMPLED = ["k116", "k148", "k256"]


def pipeline(champion: str = "v1", **more: Any) -> Pipeline:
    return Pipeline(
        "p",
        task=Binary(),
        labels=Labels(wait=timedelta(seconds=10)),
        metrics={},
        versions={
            "v1": Version(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
            "v2": Version(naive_bayes.GaussianNB()),
        },
        initial_champion=champion,
        evaluate_every=4,
        digest_every=7,
        **more,
    )


def records(n: int, key: str | None = None, several: bool = False) -> list[Record]:
    rows = []
    for i in range(n):
        key = SAMPLED[i // 2 % 3] if several else key
        event: Any = Observation(f"o{i}", i, {"a": float(i % 5), "b": 1.0 / (i + 1)}, key)
        if i % 2:
            event = Label(f"o{i - 1}", i, i % 3 == 0, key)
        new = encode_event(event)
        rows.append(Record("p.events", 0, i, 1000, new.key, new.value))
    return rows


def processor(
    declared: Pipeline, store: MemoryStore, commit: Commit | None = None, **more: Any
) -> PartitionProcessor:
    manifest = rehearsal_manifest(declared, {})
    start = recover(manifest, 0, declared, commit, read_position(store), 0).start
    more = {"seal": SEAL, "known": declared.known, **more}
    return PartitionProcessor(manifest, 0, start, declared.plans(), store, **more)


def digests(fold: PartitionProcessor) -> list[bytes]:
    return [fold.chain, fold.acceptance.digest(), *(v.digest() for v in fold.versions)]


# --- outputs ------------------------------------------------------------------------------------


def test_an_output_is_named_by_its_cause_and_carries_it_in_headers() -> None:
    history = History(pipeline())
    history.add(Observation("o é", 5, {"a": 1.0}, "k", meta={"trace": 1}))
    [(key, value, headers)] = history.fold().outputs["p.predictions"]
    assert key == b"k"
    assert headers == (
        ("observation-id", "o é".encode()),
        ("version", b"v1"),
        ("source", b"p.events/0@0"),
        ("ts-ms", b"5"),
    )
    assert list(json.loads(value).items())[:10] == [
        ("kind", "prediction"),
        ("id", "p/v1/0@0/prediction"),
        ("pipeline", "p"),
        ("version", "v1"),
        ("source", {"topic": "p.events", "partition": 0, "offset": 0}),
        ("ts_ms", 5),
        ("key", "k"),
        ("observation_id", "o é"),
        ("learned", 0),
        ("prediction", False),
    ]
    assert json.loads(value)["meta"] == {"trace": 1}


def test_the_bytes_of_an_output_do_not_depend_on_who_is_champion() -> None:
    one, other = History(pipeline("v1")), History(pipeline("v2"))
    for history in (one, other):
        history.add(*(Observation(f"o{i}", i, {"a": 1.0 * i}, label=i % 2 == 0) for i in range(15)))
    first, second = one.fold(), other.fold()
    for version, others in (("v1", first), ("v2", second)):
        not_champion = second if version == "v1" else first
        mine = [
            row
            for topic, rows in others.outputs.items()
            if "shadow" not in topic
            for row in rows
            if b'"version":"%s"' % version.encode() in row[1]
        ]
        assert sorted(mine) == sorted(not_champion.outputs[f"p.shadow.{version}"])
    assert first.versions == second.versions


def test_state_digests_come_by_position_for_acceptance_and_every_version() -> None:
    history = History(pipeline())
    history.add(*(Observation(f"o{i}", i, {"a": 1.0 * i}, label=i % 2 == 0) for i in range(15)))
    outcome = history.fold()
    found = values(outcome, "evaluations") + values(outcome, "shadow.v2")
    names = [(o["id"], o["next_offset"]) for o in found if o["kind"] == "state_digest"]
    assert sorted(names) == [
        ("p/0@13/state_digest", 14),
        ("p/0@6/state_digest", 7),
        ("p/v1/0@13/state_digest", 14),
        ("p/v1/0@6/state_digest", 7),
        ("p/v2/0@13/state_digest", 14),
        ("p/v2/0@6/state_digest", 7),
    ]


def test_a_record_in_a_wrong_partition_is_counted_and_processed() -> None:
    declared = pipeline(model_per="partition")
    manifest = rehearsal_manifest(declared, {})
    counts = {}
    for partition in range(3):
        wide = type(manifest)(
            **{
                **{name: getattr(manifest, name) for name in manifest.__struct_fields__},
                "partitions": 3,
                "origins": [0, 0, 0],
            }
        )
        start = recover(wide, partition, declared, None, None, 0).start
        fold = PartitionProcessor(
            wide, partition, start, declared.plans(), MemoryStore(), seal=SEAL, known={}
        )
        batch = fold.process(records(4, "k"))
        assert len(batch.outputs) == 4
        counts[partition] = fold.acceptance.counters.misplaced
    right = partition_of(b"k", 3)
    assert counts == {p: 0 if p == right else 4 for p in range(3)}


# --- silence, images ----------------------------------------------------------------------------


def test_what_is_learned_again_below_the_commit_is_silent() -> None:
    declared = pipeline()
    whole = processor(declared, MemoryStore())
    first = whole.process(records(10))
    again = processor(declared, MemoryStore(), first.commit)
    assert again.process(records(10)).outputs == []
    assert digests(again) == digests(whole)
    rest = records(30)[10:]
    assert again.process(rest).outputs == whole.process(rest).outputs


def test_records_that_were_processed_are_passed_over() -> None:
    fold = processor(pipeline(), MemoryStore())
    fold.process(records(10))
    before = digests(fold)
    assert fold.process(records(10)).outputs == []
    assert digests(fold) == before


def test_an_image_may_be_saved_while_the_next_batch_is_learned() -> None:
    # R6: taken before the next record, saved after it; until then reads come from memory.
    rows = records(60, several=True)
    for keyed in (False, True):
        declared = pipeline(model_per="key") if keyed else pipeline()
        store = MemoryStore()
        fold = processor(declared, store, memory=Memory(live_max=1, rest_bytes_max=0))
        commit = None
        for start in range(0, 60, 10):
            commit = fold.process(rows[start : start + 5]).commit
            image = fold.image()
            fold.process(rows[start + 5 : start + 10])
            store.save(image)
            fold.saved()
        restored = processor(declared, store.reopened(), commit)
        restored.process(rows)
        calm = processor(declared, MemoryStore())
        calm.process(rows)
        assert digests(restored) == digests(fold) == digests(calm)


def test_a_batch_ends_when_too_much_waits_for_a_checkpoint() -> None:
    fold = processor(pipeline(), MemoryStore(), memory=Memory(changes_max=50))
    rows = [r for r in records(2000) if r.offset % 2 == 0]
    batch = fold.process(rows)
    assert batch.image_due
    assert batch.commit.next_offset < 600
    roomy = processor(pipeline(), MemoryStore())
    assert not roomy.process(rows).image_due


def test_state_of_another_key_is_refused_before_it_is_read() -> None:
    declared, store = pipeline(), MemoryStore()
    fold = processor(declared, store)
    commit = fold.process(records(10)).commit
    store.save(fold.image())
    with pytest.raises(StateUntrusted):
        processor(declared, store, commit, seal=BlobSeal(bytes(range(32)))).process(records(20))


# --- poison -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["memory", "recursion", "interrupt"])
def test_what_depends_on_the_machine_poisons_the_processor(error: str) -> None:
    declared = Pipeline("p", task=Binary(), metrics={}, versions={"v1": Version(Exhausting(error))})
    fold = rehearsal_processor(declared)
    kind = {"memory": MemoryError, "recursion": RecursionError, "interrupt": KeyboardInterrupt}
    with pytest.raises(kind[error]):
        fold.process(records(2))
    with pytest.raises(RuntimeError, match="not to be trusted"):
        fold.process(records(2))
    with pytest.raises(RuntimeError, match="not to be trusted"):
        fold.image()
