"""Other people's JSON becomes events by a declared mapping, and what cannot is kept with why."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.codec.decode import Gate
from stream_app.codec.intake_headers import copied_from, require_mapped
from stream_app.codec.limits import Limits
from stream_app.codec.mapping import KEPT_BYTES_MAX, EventMapping, RecordPart, SourceMapper
from stream_app.codec.partitioning import partition_of
from stream_app.codec.paths import MISSING, parse_path, pick
from stream_app.events import Refusal
from stream_app.records import NewRecord, Record

T0 = 1_700_000_000_000
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def source(value: object, *, key: bytes | None = b"k", timestamp_ms: int = T0) -> Record:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record("others.topic", 3, 1234, timestamp_ms, key, text, (("theirs", b"1"),))


def mapping(**changes: Any) -> EventMapping:
    fields: dict[str, Any] = {
        "kind": "observation",
        "id": (parse_path("id"),),
        "key": (),
        "time": parse_path("t"),
        "unit": "ms",
        "features": (("a", parse_path("x.a")),),
    }
    return EventMapping(**{**fields, **changes})


def copies(record: Record, *mappings: EventMapping) -> list[NewRecord]:
    return SourceMapper(mappings or (mapping(),), 4, 64 * 1024).copies(record)


def event(record: Record, *mappings: EventMapping) -> Any:
    [copy] = copies(record, *mappings)
    require_mapped(as_record(copy))
    return json.loads(copy.value)


def refusal(record: Record, *mappings: EventMapping) -> Refusal:
    [copy] = copies(record, *mappings)
    with pytest.raises(Refusal) as refused:
        require_mapped(as_record(copy))
    return refused.value


def as_record(copy: NewRecord) -> Record:
    return Record("p.events", 0, 0, T0, copy.key, copy.value, copy.headers)


def test_a_copy_says_which_partition_of_those_that_the_pipeline_has_its_key_is_in() -> None:
    """The log would hash over all that the topic has; what it was given later, nobody reads."""
    rows = [source({"id": str(n), "t": T0}) for n in range(64)]
    made = [copy for row in rows for copy in copies(row)]
    assert [copy.partition for copy in made] == [partition_of(b"%d" % n, 4) for n in range(64)]
    assert {copy.partition for copy in made} == {0, 1, 2, 3}


def test_a_path_names_fields_elements_and_dots() -> None:
    document = {"a": {"b": [{"c": 1}, 2]}, "d.e": 3, "0": 4}
    found = [pick(document, parse_path(p)) for p in ("a.b.0.c", "a.b.1", r"d\.e", "0", "a.b.2")]
    assert found == [1, 2, 3, 4, MISSING]
    assert pick(document, parse_path("a.b.c")) is MISSING
    assert pick(document, parse_path("a.b.01")) is MISSING
    assert pick(document, parse_path("a.b.-1")) is MISSING


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b"])
def test_a_path_with_a_part_without_a_name_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="without a name"):
        parse_path(text)


def test_a_record_becomes_the_event_that_the_mapping_says() -> None:
    record = source({"id": 7, "t": T0, "x": {"a": 1.5, "b": None}, "y": "late", "m": "trace"})
    found = event(
        record,
        mapping(
            features=(("a", parse_path("x.a")), ("b", parse_path("x.b")), ("c", parse_path("x.c"))),
            label=parse_path("y"),
            meta=(("trace", parse_path("m")), ("none", parse_path("n"))),
            key=(RecordPart.KEY,),
        ),
    )
    assert found == {
        "kind": "observation",
        "id": "7",
        "ts_ms": T0,
        "key": "k",
        "features": {"a": 1.5, "b": None},
        "label": "late",
        "meta": {"trace": "trace"},
    }


def test_the_copys_key_is_the_events_and_its_headers_say_where_it_comes_from() -> None:
    [copy] = copies(source({"id": "é", "t": T0}))
    assert copy.key == "é".encode()
    assert dict(copy.headers) == {
        "intake-source": b"others.topic/3@1234",
        "intake-ts-ms": b"%d" % T0,
    }
    assert copied_from(as_record(copy)) == "others.topic/3@1234"


def test_an_observation_without_its_inline_label_has_none_and_a_label_without_one_is_refused() -> (
    None
):
    record = source({"id": "a", "t": T0, "y": None})
    assert "label" not in event(record, mapping(label=parse_path("y")))
    refused = refusal(record, mapping(kind="label", features=(), label=parse_path("y")))
    assert (refused.reason, refused.field, refused.detail) == (
        "missing_field",
        "label",
        "nothing at y",
    )


TIMES = {
    "ms": (T0 + 7, T0 + 7),
    "ms of a float": (T0 + 0.4, T0),
    "s": (1_700_000_000, T0),
    "s of a float": (1_700_000_000.1234, T0 + 123),
    "us": (T0 * 1000 + 999, T0),
    "ns": (T0 * 1_000_000 + 7_999_999, T0 + 7),
    "iso": ("2023-11-14T22:13:20Z", T0),
    "iso with an offset": ("2023-11-14T23:13:20.007+01:00", T0 + 7),
    "iso without one": ("2023-11-14T22:13:20", T0),
}


@pytest.mark.parametrize("what", TIMES)
def test_a_time_is_read_in_its_declared_unit(what: str) -> None:
    written, expected = TIMES[what]
    record = source({"id": "a", "t": written})
    assert event(record, mapping(unit=what.split(maxsplit=1)[0]))["ts_ms"] == expected


@pytest.mark.parametrize(
    ("unit", "written"), [("ms", "2023-11-14"), ("iso", T0), ("s", True), ("iso", "tomorrow")]
)
def test_a_time_in_another_unit_is_refused(unit: str, written: object) -> None:
    refused = refusal(source({"id": "a", "t": written}), mapping(unit=unit))
    assert (refused.reason, refused.field) == ("wrong_type", "ts_ms")
    assert refused.detail.startswith("t: ")


def test_the_append_time_may_be_the_event_time() -> None:
    by_append = mapping(time=RecordPart.APPEND_TIME)
    assert event(source({"id": "a"}), by_append)["ts_ms"] == T0
    assert refusal(source({"id": "a"}, timestamp_ms=-1), by_append).reason == "missing_field"


def test_several_paths_are_one_text_and_other_parts_never_the_same_one() -> None:
    both = mapping(id=(parse_path("a"), parse_path("b")))
    names = [
        event(source({"a": a, "b": b, "t": T0}), both)["id"]
        for a, b in (("x", 1), ("x/1", ""), ("x%2F1", "y"), ("x/1", "y"))
        if b != ""
    ]
    assert names == ["x/1", "x%252F1/y", "x%2F1/y"]


REFUSED: dict[str, tuple[object, str, str | None]] = {
    "no JSON": (b"nonsense", "malformed", None),
    "a tombstone": (b"", "no_value", None),
    "no UTF-8": (b'{"id": "\xff"}', "bad_utf8", None),
    "half a character": (b'{"id": "\\ud800", "t": 1}', "bad_utf8", None),
    "nested too deep": (b"[" * 100_000, "too_deep", None),
    "a number": (b"17", "wrong_type", None),
    "the same key twice": (b'{"id": "a", "id": "b", "t": 1}', "duplicate_key", "id"),
    "no id": ({"t": T0}, "missing_field", "id"),
    "an id that is null": ({"id": None, "t": T0}, "missing_field", "id"),
    "an empty id": ({"id": "", "t": T0}, "bad_id", "id"),
    "a boolean id": ({"id": True, "t": T0}, "wrong_type", "id"),
    "a fraction as id": ({"id": 1.5, "t": T0}, "wrong_type", "id"),
    "an endless integer as id": ({"id": 10**200, "t": T0}, "wrong_type", "id"),
    "an object as id": ({"id": {}, "t": T0}, "wrong_type", "id"),
    "no time": ({"id": "a"}, "missing_field", "ts_ms"),
    "NaN as time": (b'{"id": "a", "t": NaN}', "not_finite", "ts_ms"),
    "an array as feature": ({"id": "a", "t": T0, "x": {"a": []}}, "wrong_type", "features.a"),
    "NaN as feature": (b'{"id": "a", "t": 1, "x": {"a": NaN}}', "not_finite", "features.a"),
    "1e999 as feature": (b'{"id": "a", "t": 1, "x": {"a": 1e999}}', "out_of_range", "features.a"),
    "a huge string": ({"id": "a", "t": T0, "x": {"a": "x" * 70_000}}, "too_large", None),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_mapped_is_kept_as_it_was_with_the_reason(what: str) -> None:
    value, reason, field = REFUSED[what]
    record = source(value)
    refused = refusal(record)
    assert (refused.reason, refused.field) == (reason, field)
    [copy] = copies(record)
    assert copy.value == record.value[:KEPT_BYTES_MAX]
    assert copy.key == b"k"
    assert copy.partition == partition_of(b"others.topic/3@0", 4)


def test_nan_where_nothing_is_picked_is_nobodys_business() -> None:
    assert event(source(b'{"id": "a", "t": 1, "z": [NaN, -Infinity]}'))["id"] == "a"


def test_escaped_quotes_are_not_taken_for_a_key_said_twice() -> None:
    assert event(source({"id": 'a"b', "t": T0}))["id"] == 'a"b'


def test_of_a_large_record_the_beginning_is_kept_and_what_it_was_is_said() -> None:
    record = source(b"x" * 200_000, key=b"k" * 5000)
    [copy] = copies(record)
    assert (len(copy.value), copy.key) == (KEPT_BYTES_MAX, None)
    detail = refusal(record).detail
    assert "65536 of 200000 bytes, SHA-256 " in detail
    assert "without its key of 5000 bytes" in detail


def test_a_large_record_whose_event_is_small_is_copied() -> None:
    assert event(source({"id": "a", "t": T0, "z": "x" * 500_000}))["id"] == "a"


def test_a_record_of_no_mapping_is_left_out_and_one_of_two_makes_two_events() -> None:
    left = mapping(where=((parse_path("type"), ("left", 1)),))
    landed = mapping(
        kind="label", features=(), label=parse_path("y"), where=((parse_path("y"), (True,)),)
    )
    kinds = [
        [json.loads(copy.value)["kind"] for copy in copies(source(document), left, landed)]
        for document in (
            {"id": "a", "t": T0, "type": "left", "y": True},
            {"id": "a", "t": T0, "type": "taxi", "y": 1},  # in JSON, 1 is not true
            {"id": "a", "t": T0, "type": True, "y": True},
        )
    ]
    assert kinds == [["observation", "label"], [], ["label"]]


@given(json_values, st.none() | st.binary(max_size=40), st.integers(-1, 2**62))
def test_whatever_a_record_is_there_is_one_copy_that_says_where_from_and_nothing_raises(
    value: object, key: bytes | None, timestamp_ms: int
) -> None:
    record = source(json.dumps(value).encode(), key=key, timestamp_ms=timestamp_ms)
    [copy] = copies(record, mapping(id=(RecordPart.KEY,), time=RecordPart.APPEND_TIME))
    assert copied_from(as_record(copy)) == record.position


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_copied_or_kept(value: bytes) -> None:
    [copy] = copies(source(value))
    if any(name == "intake-refused" for name, _ in copy.headers):
        assert copy.value == value


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)


@given(st.dictionaries(st.text(min_size=1, max_size=10), scalars, max_size=5))
def test_a_copied_event_means_to_the_gate_what_the_source_said(fields: dict[str, Any]) -> None:
    """Only the gate judges features: what it is given are the source's values."""
    names = sorted(fields)
    paths = tuple((f"f{i}", parse_path(f"x.{i}")) for i in range(len(names)))
    document = {"id": "a", "t": T0, "x": [fields[name] for name in names]}
    [copy] = copies(source(document), mapping(features=paths))
    record = as_record(copy)
    finite = all(not isinstance(v, float) or math.isfinite(v) for v in fields.values())
    if not finite:
        with pytest.raises(Refusal, match="not_finite"):
            require_mapped(record)
        return
    gate = Gate(Limits(), None, lambda label: label)
    if any(type(v) in (int, float) and abs(v) > Limits().magnitude_max for v in fields.values()):
        with pytest.raises(Refusal, match="out_of_range"):
            gate.decode(record)
        return
    admitted = gate.decode(record)
    expected = {f"f{i}": fields[name] for i, name in enumerate(names)}
    assert admitted.features == {k: v for k, v in expected.items() if v is not None}


def test_a_refusal_that_cannot_be_read_is_a_refusal_all_the_same() -> None:
    record = Record("p.events", 0, 0, T0, None, b"{}", (("intake-refused", b"\xff"),))
    with pytest.raises(Refusal, match="refused"):
        require_mapped(record)


def test_what_a_refusal_says_is_bounded_whoever_wrote_it() -> None:
    why = {"reason": "r" * 9999, "field": "f" * 9999, "detail": "d" * 9999}
    header = ("intake-refused", msgspec.json.encode(why))
    with pytest.raises(Refusal) as refused:
        require_mapped(Record("p.events", 0, 0, T0, None, b"{}", (header,)))
    assert len(refused.value.reason + (refused.value.field or "") + refused.value.detail) < 1000
