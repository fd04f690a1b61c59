"""Intake is declared beside the fold, and its refusals go through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from river import linear_model

from stream_app.codec.intake_headers import refused_header
from stream_app.codec.mapping import RecordPart
from stream_app.core.chain import Chain
from stream_app.core.intake import Intake
from stream_app.core.pipeline import Pipeline, Version
from stream_app.errors import DeclarationError
from stream_app.events import Refusal
from stream_app.learning.tasks import Binary
from stream_app.outputs import DeadLetter
from stream_app.records import Record
from stream_app.testing import Driver


def declare(*intake: Any, **changes: Any) -> Pipeline:
    declared: dict[str, Any] = {
        "task": Binary(),
        "versions": {"v1": Version(linear_model.LogisticRegression())},
        "features": {"a": float, "b": float | None},
    }
    return Pipeline("p", **{**declared, **changes}, intake=intake)


def intake(**changes: Any) -> Intake:
    declared: dict[str, Any] = {"topic": "t", "kind": "observation", "id": "i", "timestamp": "t"}
    return Intake(**{**declared, **changes})


MISTAKES: dict[str, tuple[Callable[[], object], str, str]] = {
    # what: (declaration, how the problem begins, a part of what to write instead)
    "no Intake": (lambda: declare("t"), "intake[0]: expected an Intake", "Intake("),
    "its class": (lambda: declare(Intake), "intake[0]: expected an Intake", "Intake("),
    "one Intake for a list": (
        lambda: Pipeline(
            "p",
            task=Binary(),
            versions={"v1": Version(linear_model.LogisticRegression())},
            intake=intake(),  # type: ignore[arg-type]
        ),
        "intake: expected Iterable",
        "intake=[Intake(",
    ),
    "no topic": (lambda: declare(intake(topic="")), "intake[0].topic: ''", "letters"),
    "its own topic": (
        lambda: declare(intake(topic="p.events")),
        "intake[0].topic: p.events is one of",
        "somebody else",
    ),
    "another kind": (lambda: declare(intake(kind="x")), "intake[0].kind: 'x'", "observation"),
    "another unit": (
        lambda: declare(intake(timestamp_unit="h")),
        "intake[0].timestamp_unit: 'h'",
        "iso",
    ),
    "a path with a hole": (lambda: declare(intake(id="a..b")), "intake[0].id: 'a..b'", "path"),
    "a number for a path": (lambda: declare(intake(key=7)), "intake[0].key: 7", "path"),
    "no paths": (lambda: declare(intake(id=())), "intake[0].id: ()", "tuple"),
    "the append time as id": (
        lambda: declare(intake(id=RecordPart.APPEND_TIME)),
        "intake[0].id: ",
        "RecordPart.KEY",
    ),
    "the key as time": (
        lambda: declare(intake(timestamp=RecordPart.KEY)),
        "intake[0].timestamp: ",
        "APPEND_TIME",
    ),
    "a label without a label": (
        lambda: declare(intake(kind="label")),
        "intake[0].label: ",
        "label=",
    ),
    "features of a label": (
        lambda: declare(intake(kind="label", label="y", features={})),
        "intake[0].features: a label",
        "observation",
    ),
    "meta of a label": (
        lambda: declare(intake(kind="label", label="y", meta={"m": "m"})),
        "intake[0].meta: a label",
        "observation",
    ),
    "features in a list": (
        lambda: declare(intake(features=["a"])),
        "intake[0].features: expected names",
        "delays.dep",
    ),
    "a needed feature that is nowhere": (
        lambda: declare(intake(features={"aa": "x.a"})),
        "intake[0].features: the pipeline needs the feature 'a', and nothing says where it is;"
        " did you mean aa?",
        "float | None",
    ),
    "no features at all": (
        lambda: declare(intake(), features=None),
        "intake[0].features: neither",
        "features=",
    ),
    "where is a list": (lambda: declare(intake(where=["a"])), "intake[0].where: ", "departed"),
    "where is an object": (
        lambda: declare(intake(where={"a": {}})),
        "intake[0].where['a']: ",
        "departed",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_named_by_its_path_with_what_to_write_instead(what: str) -> None:
    declaration, problem, attempt = MISTAKES[what]
    with pytest.raises(DeclarationError) as caught:
        declaration()
    assert caught.value.problem.startswith(problem)
    assert attempt in caught.value.attempt


def test_without_features_the_declared_ones_are_the_fields_of_their_names() -> None:
    [source] = declare(intake(), features={"a.b": float, "c": int}).sources
    [mapping] = source.mappings
    assert [(name, path.steps[0].name) for name, path in mapping.features] == [
        ("a.b", "a.b"),
        ("c", "c"),
    ]


def test_two_mappings_of_one_topic_are_one_source_in_the_order_of_the_declaration() -> None:
    label = intake(kind="label", label="y")
    pipeline = declare(intake(), label, intake(topic="u"))
    kinds = [(s.topic, [m.kind for m in s.mappings]) for s in pipeline.sources]
    assert kinds == [("t", ["observation", "label"]), ("u", ["observation"])]


def test_what_is_copied_is_no_setting_of_the_fold() -> None:
    """Or a changed mapping would stop `run` and `replay` of what was copied long ago."""
    plain, mapped = declare(), declare(intake(), intake(kind="label", label="y"))
    assert plain.settings() == mapped.settings()
    assert plain.definitions() == mapped.definitions()


def test_a_mapped_feature_that_is_not_declared_is_noted() -> None:
    [note] = declare(intake(features={"a": "a", "bb": "b"})).notes()
    assert "intake from t: feature 'bb' is not declared" in note
    assert note.endswith("did you mean b?")


WHY = refused_header(Refusal("missing_field", "id", "nothing at flight.uid"))
SOURCE = ("intake-source", b"others/3@17")


def copy_of(value: bytes, *headers: tuple[str, bytes]) -> Record:
    return Record("p.events", 0, 0, 1_700_000_000_000, b"theirs", value, headers)


def test_a_refused_copy_becomes_a_dead_letter_that_says_why_and_where_from() -> None:
    good = b'{"kind":"observation","id":"a","ts_ms":1699999999000,"features":{"a":1.0}}'
    with Driver(declare()) as driver:
        [letter] = driver.send_bytes(good, b"theirs", (SOURCE, WHY))
    assert isinstance(letter, DeadLetter)
    # It is refused by its header, whatever its bytes would be without it.
    assert (letter.reason, letter.field) == ("missing_field", "id")
    assert letter.detail == "nothing at flight.uid"
    assert letter.copied_from == "others/3@17"
    assert (letter.key, letter.original.data) == ("theirs", good.decode())


def test_a_copy_that_the_gate_refuses_says_where_from_and_other_dead_letters_say_nothing() -> None:
    with Driver(declare()) as driver:
        [first] = driver.send_bytes(b"x", None, (SOURCE,))
        [second] = driver.send_bytes(b"x")
    assert isinstance(first, DeadLetter)
    assert isinstance(second, DeadLetter)
    assert (first.reason, first.copied_from) == ("malformed", "others/3@17")
    assert second.copied_from is msgspec.UNSET


def test_the_chain_covers_the_headers_that_the_fold_reads_and_no_others() -> None:
    def chain(*headers: tuple[str, bytes]) -> bytes:
        chain = Chain()
        chain.add(copy_of(b"x", *headers))
        return chain.digest()

    assert chain(("traceparent", b"1"), ("intake-ts-ms", b"1")) == chain()
    other = ("intake-source", b"others/3@18")
    different = [chain(), chain(SOURCE), chain(WHY), chain(SOURCE, WHY), chain(other)]
    assert len(set(different)) == len(different)
