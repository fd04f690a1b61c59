"""Events to bytes: what a producer's JSON would silently lose is refused before it is sent."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from stream_app.codec.decode import Gate
from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.errors import UsageError
from stream_app.events import Control, Label, Observation
from stream_app.records import Record

T0 = 1_357_000_000_000


def test_an_observation_reaches_the_gate_as_it_was_sent() -> None:
    sent = Observation("é", T0, {"b": True, "a": 0.1, "n": 2**40, "s": "ü"}, "k", 1, {"m": [None]})
    new = encode_event(sent)
    gate = Gate(Limits(), None, lambda label: label)
    admitted = gate.decode(Record("p.events", 0, 0, T0, new.key, new.value))
    event: Any = admitted.event
    assert (event.id, event.ts_ms, admitted.key, admitted.label) == ("é", T0, "k", 1)
    assert json.loads(bytes(event.meta)) == {"m": [None]}
    # In canonical order, whatever order they came in.
    assert list(admitted.features.items()) == [("a", 0.1), ("b", True), ("n", 2**40), ("s", "ü")]


def test_the_records_key_is_the_events_key_and_by_default_its_id() -> None:
    assert encode_event(Label("a", T0, True)).key == b"a"
    assert encode_event(Label("a", T0, True, key="k")).key == b"k"
    assert encode_event(Control("c", T0, "time")).key is None


def test_equal_events_give_equal_bytes_in_whatever_order_features_were_put() -> None:
    one = encode_event(Observation("a", T0, {"x": 1.0, "y": 2.0}))
    other = encode_event(Observation("a", T0, {"y": 2.0, "x": 1.0}))
    assert one == other


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_would_turn_into_null_is_refused(odd: float) -> None:
    with pytest.raises(UsageError, match=r"features\.x"):
        encode_event(Observation("a", T0, {"x": odd}))
    with pytest.raises(UsageError, match="label"):
        encode_event(Label("a", T0, odd))
    with pytest.raises(UsageError, match="meta"):
        encode_event(Observation("a", T0, {}, meta={"deep": [{"x": odd}]}))


@pytest.mark.parametrize(
    "event",
    [
        Observation("a", T0, {"x": object()}),  # type: ignore[dict-item]
        Observation("a", T0, {}, meta={"x": object()}),
        Observation("\ud800", T0, {}),
        Observation("a", T0, {"\ud800": 1.0}),
        Observation("a", T0, {}, key="\ud800"),
    ],
)
def test_what_json_cannot_hold_is_a_named_error(event: Observation) -> None:
    with pytest.raises(UsageError):
        encode_event(event)
