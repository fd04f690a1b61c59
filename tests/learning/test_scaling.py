"""The pass that a compiler is given makes the bits, entries and errors of the plain one."""

from __future__ import annotations

import collections
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.learning.scaling import FloatScaler, PlainScaler

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


@settings(max_examples=300, deadline=None)
@given(
    state=st.dictionaries(st.sampled_from("ab"), st.tuples(counts, values, values), max_size=2),
    stream=st.lists(features, max_size=6),
)
def test_both_passes_do_the_same(state: dict[Any, Any], stream: list[dict[Any, Any]]) -> None:
    plain, typed = Figures(state), Figures(state)
    with np.errstate(all="ignore"):
        for x in stream:
            a = PlainScaler(plain.counts, plain.means, plain.vars)
            b = FloatScaler(typed.counts, typed.means, typed.vars)
            assert outcome(a.transform, x) == outcome(b.transform, x)
            assert outcome(a.advance, x) == outcome(b.advance, x)
            assert plain.told() == typed.told()


@pytest.mark.parametrize("kind", [collections.OrderedDict, collections.ChainMap])
def test_any_mapping_may_be_handed_on(kind: Any) -> None:
    plain, typed = Figures({}), Figures({})
    x = kind({"a": 1.0, "b": 2})
    wanted = PlainScaler(plain.counts, plain.means, plain.vars).advance(x)
    assert bits(FloatScaler(typed.counts, typed.means, typed.vars).advance(x)) == bits(wanted)
    assert plain.told() == typed.told()
