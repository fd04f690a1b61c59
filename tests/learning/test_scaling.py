"""Rows make the bits, entries and errors that River's dicts have, settled whenever it may be."""

from __future__ import annotations

import collections
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.learning.scaling import PlainScaler, RowScaler

FLOATS = [0.0, -0.0, 1.5, -3.0, 1e-310, 1e15, 1e308, -1e308, float("inf"), float("nan")]
ODD = [*FLOATS, 1, 0, 10**400, True, "word", None, np.float64(2.5), Fraction(1, 3), 1j]
values = st.floats() | st.sampled_from(ODD)
features = st.dictionaries(st.sampled_from(["a", "b", ("c", 1)]), values)
counts = st.sampled_from([0, 1, 7, -1, 2.0, np.int64(3)])


def bits(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, bits(part)) for name, part in value.items()]
    # A NaN's sign depends on how often a line has run (see the digests, which do not count it).
    bare = isinstance(value, float) and value == value
    return type(value), struct.pack("<d", value) if bare else repr(value)


class Figures:
    def __init__(self, state: dict[Any, tuple[Any, Any, Any]]) -> None:
        self.counts: Any = collections.Counter({name: each[0] for name, each in state.items()})
        self.means: Any = collections.defaultdict(float)
        self.vars: Any = collections.defaultdict(float)
        self.means.update({name: each[1] for name, each in state.items()})
        self.vars.update({name: each[2] for name, each in state.items()})

    def told(self) -> Any:
        return bits(dict(self.counts)), bits(dict(self.means)), bits(dict(self.vars))


def outcome(call: Any, x: Any) -> Any:
    try:
        return bits(call(x))
    except Exception as error:
        return type(error), str(error)


def scaler(kind: Any, figures: Figures) -> Any:
    return kind(figures.counts, figures.means, figures.vars)


@settings(max_examples=400, deadline=None)
@given(
    state=st.dictionaries(st.sampled_from("ab"), st.tuples(counts, values, values), max_size=2),
    stream=st.lists(st.tuples(features, st.booleans(), st.booleans()), max_size=8),
)
def test_rows_do_what_the_dicts_do(
    state: dict[Any, Any], stream: list[tuple[dict[Any, Any], bool, bool]]
) -> None:
    """Until a call raises: then nobody uses either again."""
    plain, own = Figures(state), Figures(state)
    a, b = scaler(PlainScaler, plain), scaler(RowScaler, own)
    with np.errstate(all="ignore"):
        for x, learns, settles in stream:
            wanted = outcome(a.advance if learns else a.transform, x)
            assert outcome(b.advance if learns else b.transform, x) == wanted
            if isinstance(wanted, tuple):
                return
            if settles:
                b.settle()
                assert own.told() == plain.told()
        b.settle()
        assert own.told() == plain.told()


@pytest.mark.parametrize("kind", [collections.OrderedDict, collections.ChainMap])
def test_any_mapping_may_be_handed_on(kind: Any) -> None:
    plain, own = Figures({}), Figures({})
    x = kind({"a": 1.0, "b": 2})
    wanted = scaler(PlainScaler, plain).advance(x)
    rows = scaler(RowScaler, own)
    assert bits(rows.advance(x)) == bits(wanted)
    rows.settle()
    assert plain.told() == own.told()


def test_what_is_settled_costs_what_was_learned_since() -> None:
    """However many features there are, a batch of one event gives one event's rows back."""
    figures = Figures({f"f{i}": (1, 0.5, 0.0) for i in range(1000)})
    rows = scaler(RowScaler, figures)
    rows.advance({"f1": 2.0, "f2": 3.0})
    assert figures.counts["f1"] == 1
    assert len(rows._rows) == 2
    rows.settle()
    assert figures.counts["f1"] == 2
    assert not rows._rows
