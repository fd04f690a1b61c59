"""Whatever comes: nothing raises, nothing is lost, and how records were batched never shows."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from river import drift, dummy, linear_model, preprocessing, stats, tree

from stream_app.codec.decode import Gate
from stream_app.codec.limits import Limits
from stream_app.core import identities
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.events import Control, Label, Observation, Refusal
from stream_app.learning.tasks import Binary, Regression
from stream_app.records import Record
from tests.core.history import Entry, History, Outcome, Step, values
from tests.core.reference import Reference

WAIT_MS = 50
SEGMENT = 4
LIMITS = Limits(ids_max=9, early_max=3, features_max=6, string_chars_max=8, meta_bytes_max=60)

few = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fewer = settings(few, max_examples=12)
many = settings(few, max_examples=150)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ids' segments be of 4 instead of 1,024, so that short histories fill many."""
    monkeypatch.setattr(identities, "SIZE", SEGMENT)
    monkeypatch.setattr(identities, "_SHIFT", 2)


@cache
def bare(ids_max: int = 9) -> Pipeline:
    """Return a pipeline whose model costs nothing: acceptance is what is looked at."""
    return Pipeline(
        "bare",
        task=Regression(),
        labels=Labels(wait=timedelta(milliseconds=WAIT_MS)),
        limits=msgspec.structs.replace(LIMITS, ids_max=ids_max),
        metrics={},
        versions={"v1": Version(dummy.StatisticRegressor(stats.Mean()))},
    )


@cache
def side_by_side(model_per: Any = "pipeline") -> Pipeline:
    """Return three versions with everything that keeps state: metrics, monitors, resets."""
    return Pipeline(
        "p",
        task=Binary(),
        labels=Labels(wait=timedelta(milliseconds=WAIT_MS)),
        limits=LIMITS,
        model_per=model_per,
        versions={
            "linear": Version(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
            "tree": Version(tree.HoeffdingTreeClassifier(grace_period=5), features=["a", "b"]),
            "says-nothing": Version(dummy.PriorClassifier()),
        },
        initial_champion="tree",
        drift=[
            DriftMonitor("error", drift.ADWIN(clock=1, grace_period=2, min_window_length=1)),
            DriftMonitor("feature:a", drift.PageHinkley(min_instances=3, threshold=1.0)),
            DriftMonitor(
                "feature:b",
                drift.PageHinkley(min_instances=5, threshold=2.0),
                action="reset",
            ),
        ],
        evaluate_every=3,
        digest_every=7,
    )


# --- events -------------------------------------------------------------------------------------

ids = st.sampled_from([f"i{n}" for n in range(16)])
# State digests cover one key in 64; the first two are among them.
SAMPLED = ["k116", "k148", "k3", "k4"]
keys = st.sampled_from([*SAMPLED, None])
steps_of_time = st.sampled_from([0, 0, 1, 1, 2, 3, 10, -20, 60, 400])
numbers: st.SearchStrategy[Any] = st.one_of(st.floats(-5, 5), st.integers(-5, 5), st.booleans())
feature_maps = st.dictionaries(st.sampled_from("abc"), numbers, max_size=3)


@st.composite
def histories(draw: st.DrawFn, labels: Any, longest: int = 60) -> list[Any]:
    """Draw a clock that jumps, and events on it: early, late, twice, contradicting."""
    now = 1000
    events: list[Any] = []
    for i in range(draw(st.integers(1, longest))):
        now = max(0, now + draw(steps_of_time))
        kind = draw(st.sampled_from(["observation"] * 5 + ["label"] * 5 + ["inline", "time"]))
        if kind == "time":
            events.append(Control(f"time-{draw(st.integers(0, i))}", now, "time"))
        elif kind == "label":
            events.append(Label(draw(ids), now, draw(labels), draw(keys)))
        else:
            label = draw(labels) if kind == "inline" else None
            events.append(Observation(draw(ids), now, draw(feature_maps), draw(keys), label))
    return events


def long_history(seed: int, labels: list[Any], events: int = 150) -> list[Any]:
    """Return a history long enough for monitors to fire and bounds to be hit, from a seed."""
    draw = random.Random(seed)
    now, rows = 1000, list[Any]()
    names = [f"i{n}" for n in range(draw.choice([12, 40, 1000]))]
    for i in range(events):
        now = max(0, now + draw.choice([0, 0, 1, 1, 2, 3, 10, -20, 90 if i % 30 > 20 else 1]))
        key = draw.choice(SAMPLED)
        kind = draw.choices(["observation", "label", "inline", "time"], [8, 8, 4, 1])[0]
        if kind == "time":
            rows.append(Control(f"time-{draw.randrange(i + 1)}", now, "time"))
        elif kind == "label":
            near = f"i{draw.randrange(max(0, i - 30), i + 3)}" if len(names) > 100 else ""
            rows.append(Label(near or draw.choice(names), now, draw.choice(labels), key))
        else:
            level = 3.0 if i * 3 > events else -1.0
            features: dict[str, Any] = {"a": draw.gauss(level, 1.0), "b": draw.gauss(-level, 0.5)}
            if draw.random() < 0.3:
                features[draw.choice("cdefghijklmnopq")] = draw.choice([1, 2.5, True])
            label = draw.choice(labels) if kind == "inline" else None
            name = f"i{i}" if len(names) > 100 else draw.choice(names)
            rows.append(Observation(name, now, features, key, label))
    return rows


seeds = st.integers(0, 2**32 - 1)


def cuts(with_crashes: bool = True) -> st.SearchStrategy[list[Step]]:
    stops = ["save", "crash"] if with_crashes else []
    return st.lists(st.one_of(st.integers(1, 20), st.sampled_from([*stops, 1])), max_size=25)


def written(pipeline: Pipeline, events: list[Any]) -> History:
    history = History(pipeline)
    history.add(*events, append_ms=10_000)
    return history


# --- acceptance ---------------------------------------------------------------------------------


windows = st.sampled_from([5, 9, 60])


@few
@given(windows, histories(st.integers(0, 2)), cuts())
def test_acceptance_agrees_with_a_simple_reference(
    ids_max: int, events: list[Any], steps: list[Step]
) -> None:
    check_against_reference(ids_max, events, steps)


def check_against_reference(ids_max: int, events: list[Any], steps: list[Step]) -> None:
    outcome = written(bare(ids_max), events).fold(steps)
    reference = Reference(
        wait_ms=WAIT_MS, ids_max=ids_max, early_max=LIMITS.early_max, segment=SEGMENT
    )
    for event in events:
        reference.take(event)
    counters = {
        name: getattr(outcome.counters, name) for name in outcome.counters.__struct_fields__
    }
    for name in ("features_dropped", "keys_differ", "misplaced"):
        del counters[name]
    assert counters == {name: reference.count[name] for name in counters}
    assert outcome.waiting == reference.waiting
    assert outcome.early == len(reference.early)
    letters = values(outcome, "dead-letters")
    assert [letter["reason"] for letter in letters] == reference.letters


@few
@given(windows, seeds, cuts())
def test_acceptance_agrees_with_the_reference_on_long_histories(
    ids_max: int, seed: int, steps: list[Step]
) -> None:
    check_against_reference(ids_max, long_history(seed, [0, 1, 2]), steps)


@few
@given(histories(st.integers(0, 2)))
def test_every_record_is_accounted_for_once(events: list[Any]) -> None:
    outcome = written(bare(), events).fold()
    count = outcome.counters
    dead = len(values(outcome, "dead-letters"))
    assert dead == count.dead_letters
    assert len(values(outcome, "predictions")) == count.observations
    controls = sum(isinstance(event, Control) for event in events)
    labels = sum(isinstance(event, Label) for event in events)
    observations = len(events) - controls - labels
    refused = [letter["reason"] for letter in values(outcome, "dead-letters")]
    assert count.observations + refused.count("duplicate") == observations
    assert count.records == len(events)
    # Every accepted observation is joined, timed out or waiting; nothing else.
    assert count.observations == count.labels_joined + count.timed_out + outcome.waiting


# --- batching, checkpoints, crashes -------------------------------------------------------------


def same(one: Outcome, other: Outcome) -> None:
    assert one.counters == other.counters
    for topic, rows in one.outputs.items():
        assert rows == other.outputs[topic], topic
    assert one == other


@fewer
@given(seeds, cuts(with_crashes=False))
def test_outputs_and_digests_do_not_depend_on_batching(seed: int, steps: list[Step]) -> None:
    history = written(side_by_side(), long_history(seed, [True, False]))
    same(history.fold(), history.fold(steps))


@fewer
@given(seeds, cuts())
def test_outputs_and_digests_do_not_depend_on_checkpoints_and_crashes(
    seed: int, steps: list[Step]
) -> None:
    history = written(side_by_side(), long_history(seed, [True, False]))
    same(history.fold(), history.fold(steps))


@fewer
@given(seeds, cuts())
def test_one_model_per_key_does_not_show_when_models_were_put_away(
    seed: int, steps: list[Step]
) -> None:
    history = written(side_by_side("key"), long_history(seed, [True, False]))
    same(
        history.fold(),
        history.fold(steps, memory=Memory(live_max=1, rest_bytes_max=0, changes_max=3)),
    )


# --- arbitrary and mutated bytes ----------------------------------------------------------------

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.text(max_size=12),
        st.sampled_from(["observation", "label", "control", "time", "ed25519:k1:" + "A" * 86]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from("ab"), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    ["kind", "id", "ts_ms", "features", "key", "label", "meta", "action", "sig", "settings", "x"]
)
documents = st.dictionaries(fields, json_values, max_size=8)
good_events = st.one_of(
    st.builds(
        Observation,
        st.text(min_size=1, max_size=4),
        st.integers(0, 5000),
        st.dictionaries(st.sampled_from("abcd"), numbers, max_size=4),
        st.none() | st.text(max_size=3),
        st.none() | st.booleans(),
        st.none() | st.dictionaries(st.text(max_size=3), json_values, max_size=2),
    ),
    st.builds(Label, st.text(min_size=1, max_size=4), st.integers(0, 5000), st.booleans()),
)


def plain(event: Any) -> dict[str, Any]:
    kind = "observation" if isinstance(event, Observation) else "label"
    row = {name: getattr(event, name) for name in event.__struct_fields__}
    return {"kind": kind, **{k: v for k, v in row.items() if v is not None}}


@st.composite
def patched(draw: st.DrawFn, sound: bytes) -> bytes:
    value = bytearray(sound)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(value) - 1)))
        cut = draw(st.integers(0, 3))
        patch = st.binary(max_size=3) | st.sampled_from(
            [
                b'"',
                b"\\",
                b"\\u0061",
                b"\\ud800",
                b"\xff",
                b"{",
                b"}",
                b"[",
                b"1e999",
                b"NaN",
                b",",
                b'"a":1,',
            ]
        )
        value[at : at + cut] = draw(patch)
    return bytes(value)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Draw a valid event with something changed: a field, or a few bytes anywhere."""
    document = plain(draw(good_events))
    if draw(st.booleans()):
        document.update(draw(documents))
    value = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return draw(patched(bytes(value)))


anything = st.one_of(
    st.binary(max_size=80), documents.map(lambda d: json.dumps(d).encode()), mangled()
)


@settings(few, max_examples=50)
@given(st.lists(anything, min_size=1, max_size=12), cuts())
def test_whatever_the_bytes_are_each_record_is_an_event_or_one_dead_letter(
    records: list[bytes], steps: list[Step]
) -> None:
    history = History(side_by_side())
    history.entries = [
        Entry(value, None if i % 5 == 0 else value[:3], 10_000 + i, hole=i % 3)
        for i, value in enumerate(records)
    ]
    outcome = history.fold(steps)
    count = outcome.counters
    letters = values(outcome, "dead-letters")
    refused = [letter for letter in letters if letter["kind"] == "dead_letter"]
    assert count.records == len(records)
    assert len(refused) == count.dead_letters
    assert len({letter["source"]["offset"] for letter in refused}) == len(refused)
    assert len(values(outcome, "predictions")) == count.observations
    labels = (
        count.labels_early
        + count.labels_late
        + count.labels_duplicate
        + count.labels_joined
        + count.labels_conflicting
    )
    assert count.observations + labels + count.dead_letters + count.controls >= len(records)
    for letter in refused:
        assert letter["reason"]
        assert letter["detail"]


# --- the two ways through the gate --------------------------------------------------------------

DECLARED = {"a": "float", "b": "int", "c": "bool", "d": "str"}
OPTIONAL = {**DECLARED, "d": "str?", "e": "float?"}
spellings: st.SearchStrategy[Any] = st.one_of(
    numbers,
    st.text(max_size=9),
    st.none(),
    st.sampled_from([1e15, 1.1e15, 10**15 + 1, -0.0, 2**70]),
)


@st.composite
def nearly_declared(draw: st.DrawFn) -> bytes:
    """Draw an observation that is as declared, or off by a little, in any order and spelling."""
    right: dict[str, Any] = {
        "a": draw(st.floats(-2, 2) | st.integers(-2, 2)),
        "b": draw(st.integers(-3, 3)),
        "c": draw(st.booleans()),
        "d": draw(st.text(max_size=9)),
    }
    if draw(st.booleans()):
        right[draw(st.sampled_from("abcde"))] = draw(spellings)
    order = draw(st.permutations(sorted(right)))
    document = {
        "kind": "observation",
        "id": "i",
        "ts_ms": 5,
        "features": {n: right[n] for n in order},
    }
    if draw(st.integers(0, 3)) == 0:
        document[draw(st.sampled_from(["key", "label", "meta", "id"]))] = draw(spellings)
    names = draw(st.permutations(sorted(document)))
    text = json.dumps({n: document[n] for n in names}, ensure_ascii=draw(st.booleans()))
    text = text.replace('"a"', draw(st.sampled_from(['"a"', '"a"', '"\\u0061"', '"a": 1, "a"'])), 1)
    value = text.encode("utf-8", "surrogatepass")
    return draw(patched(value)) if draw(st.integers(0, 3)) == 0 else value


def admit(gate: Gate, value: bytes) -> object:
    try:
        admitted = gate.decode(Record("p.events", 0, 0, 10_000, b"i", value))
    except Refusal as refusal:
        return refusal.reason, refusal.field, refusal.detail
    event = admitted.event
    items = [(name, type(item), repr(item)) for name, item in admitted.features.items()]
    return (
        type(event).__name__.removeprefix("Incoming").removeprefix("Declared"),
        (
            event.id,
            event.ts_ms,
            admitted.key,
            repr(admitted.label),
            bytes(getattr(event, "meta", b"")),
        ),
        items,
        admitted.schema if items else None,
        admitted.dropped,
    )


@pytest.fixture(scope="module", params=[DECLARED, OPTIONAL], ids=["required", "optional"])
def both_gates(request: pytest.FixtureRequest) -> tuple[Gate, Gate]:
    """Return a gate as it is, and one that has only the careful way."""
    limits = Limits(ts_min_ms=0, string_chars_max=8)
    label_gate = Binary().label
    quick, careful = (Gate(limits, request.param, label_gate, 7) for _ in range(2))
    careful._as_declared = None
    return quick, careful


@many
@given(value=nearly_declared())
def test_the_quick_and_the_careful_way_through_the_gate_agree(
    both_gates: tuple[Gate, Gate], value: bytes
) -> None:
    quick, careful = both_gates
    assert admit(quick, value) == admit(careful, value)


@many
@given(value=mangled())
def test_the_two_ways_agree_on_mangled_events_too(
    both_gates: tuple[Gate, Gate], value: bytes
) -> None:
    quick, careful = both_gates
    assert admit(quick, value) == admit(careful, value)


@many
@given(value=nearly_declared())
def test_admitted_features_are_in_canonical_order_with_floats_where_declared(
    both_gates: tuple[Gate, Gate], value: bytes
) -> None:
    quick, _ = both_gates
    try:
        features = quick.decode(Record("p.events", 0, 0, 10_000, b"i", value)).features
    except Refusal:
        return
    assert list(features) == sorted(features)
    assert type(features["a"]) is float
    assert type(features["b"]) is int
