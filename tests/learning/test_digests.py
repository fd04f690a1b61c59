"""What a digest promises: equal states have equal ones, everywhere, and others have others."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import pickle
import random
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import forest, proba, stats

from stream_app.learning.digests import DigestSum, structural_digest
from stream_app.learning.pickles import dumps, loads

from .catalogue import catalogue, example, step_for, variants

pytestmark = pytest.mark.filterwarnings("ignore")  # River's, of overflows on these examples

# Models that learn something from nearly every example.
LEARNERS = (
    "scaler|logreg", "tree(nba)", "nb", "arf(nba)", "srp", "amf", "knn(lazy)", "regtree(model)",
    "hst", "rocauc", "type|onehot+scaler|logreg", "river.drift.adwin:ADWIN#0",
)  # fmt: skip
# Iterate over sets of words, or keep addresses as keys: a pipeline must refuse or replace them.
OF_HASHES = ("amrules", "isoup", "kmeans", "select", "bag of words")

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_a_round_trip_through_bytes_changes_nothing(value: object) -> None:
    assert structural_digest(loads(dumps(value))) == structural_digest(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1, 1.0),
        (1, True),
        (0, False),
        ("1", 1),
        ("a", b"a"),
        (b"a", bytearray(b"a")),
        (None, "None"),
        ([1, 2], (1, 2)),
        ({1, 2}, frozenset({1, 2})),
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        ([], [[]]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, defaultdict(int, {"a": 1})),
        (defaultdict(int), defaultdict(float)),
        (Counter("aab"), Counter("abb")),
        (OrderedDict(a=1), Counter(a=1)),
        (deque([1], 2), deque([1], 3)),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.float64(1), 1.0),
        (random.Random(1), random.Random(2)),
        (np.random.RandomState(1), np.random.RandomState(2)),
        (proba.Gaussian(seed=1), proba.Gaussian(seed=2)),
        (stats.Mean(), stats.Sum()),
        (1 << 200, -(1 << 200)),
        ([1 << 20_000], [(1 << 20_000) + 1]),
    ],
)
def test_what_differs_in_type_bits_order_or_seed_differs(one: object, other: object) -> None:
    assert structural_digest(one) != structural_digest(other)


def test_the_order_of_a_set_and_of_attributes_is_no_state() -> None:
    # 8 and 16 collide in a small set, so their order is that of their insertion.
    one, other = {8, 16}, {16, 8}
    assert list(one) != list(other)
    assert structural_digest(one) == structural_digest(other)
    mean, other_mean = stats.Mean(), stats.Mean()
    other_mean.__dict__ = dict(reversed(other_mean.__dict__.items()))
    assert structural_digest(mean) == structural_digest(other_mean)


def test_nan_is_equal_to_itself() -> None:
    assert structural_digest(math.nan) == structural_digest(float("nan"))


@pytest.mark.parametrize(
    "holding",
    [
        lambda number: number,
        lambda number: {"mean": [1.0, (number,)]},
        np.float64,
        np.float32,
        lambda number: complex(1.0, number),
        lambda number: np.complex64(complex(1.0, number)),
        lambda number: np.array([[1.0, number], [2.0, 3.0]], order="F"),
        lambda number: np.array([number, 1.0, 3.0])[::2],
        lambda number: np.array([complex(number, 2.0), 1j]),
        lambda number: np.array(["a word", number], dtype=object),
    ],
)
def test_the_sign_of_a_nan_is_no_state(holding: Any) -> None:
    """A product of two has one's sign or the other's, by how often Python has run that line."""
    assert structural_digest(holding(math.nan)) == structural_digest(holding(-math.nan))
    assert structural_digest(holding(math.nan)) != structural_digest(holding(math.inf))


def test_beside_a_nan_everything_counts() -> None:
    one, other = np.array([math.nan, 1.0]), np.array([math.nan, 2.0])
    assert structural_digest(one) != structural_digest(other)
    assert structural_digest(np.array([complex(math.nan, 1)])) != structural_digest(
        np.array([complex(math.nan, 2)])
    )
    assert math.isnan(one[0])
    assert one.tobytes() == np.array([math.nan, 1.0]).tobytes()


def test_an_interpreter_that_has_run_a_line_often_may_give_a_nan_another_sign() -> None:
    """Why that is: not so in every release of Python; where it is, no digest may see it."""
    code = """if True:
        from math import nan
        def product(a, b):
            return a * b
        before = [product(nan, -nan), product(-nan, nan)]
        for _ in range(100):
            product(1.0, 2.0)
        after = [product(nan, -nan), product(-nan, nan)]
        from stream_app.learning.digests import structural_digest
        assert structural_digest(before) == structural_digest(after)
    """
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()


def test_a_shared_part_counts_as_if_it_were_copied() -> None:
    part = [1.0, {"a": [2.0]}]
    assert structural_digest([part, part]) == structural_digest(
        pickle.loads(pickle.dumps([part] * 2))
    )
    assert structural_digest([part, part]) == structural_digest([part, [1.0, {"a": [2.0]}]])


def test_many_levels_of_sharing_are_walked_once() -> None:
    value: list[Any] = [1.0]
    for _ in range(60):
        value = [value, value]
    assert len(structural_digest(value)) == 32


def test_a_cycle_ends_and_its_shape_counts() -> None:
    def ring(length: int) -> list[Any]:
        first: list[Any] = [0]
        last = first
        for _ in range(length - 1):
            last = [0, last]
        first.append(last)
        return first

    assert structural_digest(ring(3)) == structural_digest(loads(dumps(ring(3))))
    assert structural_digest(ring(3)) != structural_digest(ring(4))


def test_where_a_way_back_leads_counts() -> None:
    def pair(back_to_the_outer: bool) -> list[Any]:
        inner: list[Any] = []
        outer = [inner]
        inner.append(outer if back_to_the_outer else inner)
        return outer

    assert structural_digest(pair(True)) == structural_digest(pair(True))
    assert structural_digest(pair(True)) != structural_digest(pair(False))


def test_a_generator_without_a_seed_is_no_state() -> None:
    assert structural_digest(proba.Gaussian()) == structural_digest(proba.Gaussian())


@pytest.mark.parametrize("name", LEARNERS)
def test_one_more_example_is_another_state(name: str) -> None:
    model = dict(catalogue())[name]
    original = dumps(model)
    step = step_for(lambda: loads(original))
    assert step
    seen = set()
    for n in range(40):
        step(model, n)
        seen.add(structural_digest(model))
    assert len(seen) >= 38


def test_a_forest_that_forgot_one_example_differs() -> None:
    one, other = (forest.ARFClassifier(n_models=3, seed=1) for _ in range(2))
    for n in range(60):
        x, _, flag, _ = example(n)
        one.learn_one(x, flag)
        if n != 30:
            other.learn_one(x, flag)
    assert structural_digest(one) != structural_digest(other)


def _digests_of_variants() -> dict[str, str]:
    digests = {}
    for name, model in variants():
        if name.startswith(OF_HASHES):
            continue
        original = pickle.dumps(model)
        step = step_for(functools.partial(pickle.loads, original), examples=12)
        for n in range(20 if step else 0):
            with contextlib.suppress(Exception):
                step(model, n)  # type: ignore[misc]
        digests[name] = structural_digest(model).hex()
    return digests


def test_digests_do_not_depend_on_the_order_of_hashes() -> None:
    script = (
        "import warnings; warnings.simplefilter('ignore'); import json\n"
        "from tests.learning import test_digests\n"
        "print(json.dumps(test_digests._digests_of_variants()))"
    )
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            cwd=root,
        )
        for seed in ("1", "2")
    ]
    one, other = (process.communicate()[0] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert len(json.loads(one)) > 100
    assert json.loads(one) == json.loads(other)


def test_a_sum_of_digests_has_no_order_and_gives_entries_back() -> None:
    entries = [structural_digest(n) for n in range(5)]
    one, other = DigestSum(), DigestSum()
    for entry in entries:
        one.add(entry)
    for entry in reversed(entries):
        other.add(entry)
    assert one.hexdigest() == other.hexdigest() != DigestSum().hexdigest()
    for entry in entries:
        one.remove(entry)
    assert one.hexdigest() == DigestSum().hexdigest() == "0" * 64
    assert DigestSum(other.total).hexdigest() == other.hexdigest()


def test_a_sum_wraps_at_256_bits() -> None:
    total = DigestSum(2**256 - 1)
    total.add((1).to_bytes(32, "big"))
    assert total.total == 0
