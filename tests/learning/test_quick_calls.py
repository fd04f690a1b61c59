"""Models called the quick way say and become, bit for bit, what River's own methods make."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    compose,
    feature_extraction,
    linear_model,
    naive_bayes,
    optim,
    preprocessing,
    stats,
    tree,
)

from stream_app.learning.digests import structural_digest
from stream_app.learning.quick_calls import quick_calls

SGD = optim.SGD
Example = tuple[dict[str, Any], Any]

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "scaler|logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "l2": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.1),
    "l1": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(l1=0.1),
    "clipped": lambda: (
        preprocessing.StandardScaler() | linear_model.LogisticRegression(clip_gradient=0.2)
    ),
    "weighted": lambda: (
        preprocessing.StandardScaler()
        | linear_model.LogisticRegression(SGD(1), optim.losses.Log(weight_pos=3, weight_neg=0.5))
    ),
    "no weight": lambda: (
        preprocessing.StandardScaler()
        | linear_model.LogisticRegression(
            loss=optim.losses.Log(weight_pos=None)  # type: ignore[arg-type]
        )
    ),
    "hinge": lambda: (
        preprocessing.StandardScaler() | linear_model.LogisticRegression(loss=optim.losses.Hinge())
    ),
    "scheduled": lambda: (
        preprocessing.StandardScaler()
        | linear_model.LogisticRegression(SGD(optim.schedulers.InverseScaling(0.3)))
    ),
    "adam": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam()),
    "random start": lambda: (
        preprocessing.StandardScaler()
        | linear_model.LogisticRegression(initializer=optim.initializers.Normal(seed=3))
    ),
    "no std": lambda: (
        preprocessing.StandardScaler(with_std=False) | linear_model.LogisticRegression()
    ),
    "windowed": lambda: (
        preprocessing.StandardScaler(window_size=5) | linear_model.LogisticRegression()
    ),
    "two scalers": lambda: (
        preprocessing.MinMaxScaler()
        | preprocessing.StandardScaler()
        | linear_model.LogisticRegression()
    ),
    "union": lambda: (
        (preprocessing.StandardScaler() + feature_extraction.PolynomialExtender())
        | linear_model.LogisticRegression()
    ),
    "selected": lambda: (
        compose.Discard("b") | preprocessing.StandardScaler() | naive_bayes.GaussianNB()
    ),
    "supervised step": lambda: (
        feature_extraction.TargetAgg(by=["a"], how=stats.Mean())
        | tree.HoeffdingTreeClassifier(grace_period=5)
    ),
    "bare tree": lambda: tree.HoeffdingTreeClassifier(grace_period=5),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "scaler|linear": lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
    "steep": lambda: (
        preprocessing.StandardScaler() | linear_model.LinearRegression(SGD(0.5), intercept_lr=2)
    ),
    "cauchy": lambda: (
        preprocessing.StandardScaler() | linear_model.LinearRegression(loss=optim.losses.Cauchy())
    ),
    "wrapped": lambda: preprocessing.TargetStandardScaler(
        preprocessing.StandardScaler() | linear_model.LinearRegression()  # type: ignore[arg-type]
    ),
}

numbers = st.one_of(
    st.floats(-1e15, 1e15), st.floats(-3, 3), st.integers(-(10**15), 10**15), st.booleans()
)
features = st.dictionaries(st.sampled_from("abcd"), numbers).map(lambda x: dict(sorted(x.items())))
odd_features = st.dictionaries(st.sampled_from("ab"), numbers | st.just("word"))


def test_the_commonest_pipeline_is_called_without_rivers_pipeline() -> None:
    model = CLASSIFIERS["scaler|logistic"]()
    calls = quick_calls(model, model.predict_proba_one)
    calls.learn({"a": 1.0}, True)
    assert calls.predict({"a": 1.0})[True] > 0.5
    assert model._plan is None


@pytest.mark.parametrize("name", CLASSIFIERS)
@settings(max_examples=60, deadline=None)
@given(examples=st.lists(st.tuples(features, st.booleans()), max_size=30))
def test_a_classifier_says_and_becomes_what_rivers_own_calls_make_of_it(
    name: str, examples: list[Example]
) -> None:
    compare(CLASSIFIERS[name], "predict_proba_one", examples)


@pytest.mark.parametrize("name", REGRESSORS)
@settings(max_examples=60, deadline=None)
@given(examples=st.lists(st.tuples(features, st.floats(-1e6, 1e6)), max_size=30))
def test_a_regressor_says_and_becomes_what_rivers_own_calls_make_of_it(
    name: str, examples: list[Example]
) -> None:
    compare(REGRESSORS[name], "predict_one", examples)


@settings(max_examples=100, deadline=None)
@given(examples=st.lists(st.tuples(odd_features, st.booleans() | st.just("word")), max_size=10))
def test_what_raises_raises_the_same(examples: list[Example]) -> None:
    compare(CLASSIFIERS["scaler|logistic"], "predict_proba_one", examples)


def compare(make: Callable[[], Any], name: str, examples: list[Example]) -> None:
    for settled in (0, 1, 3):
        compare_settled(make, name, examples, settled)


def compare_settled(
    make: Callable[[], Any], name: str, examples: list[Example], settled: int
) -> None:
    """Compare with a model that is looked at after so many examples each; 0: at the end."""
    theirs, ours = make(), make()
    predict, learn, settle = quick_calls(ours, getattr(ours, name), lasting=settled != 1)
    for n, (x, y) in enumerate(examples):
        wanted, got = outcome(getattr(theirs, name), x), outcome(predict, x)
        assert wanted == got
        wanted, got = outcome(theirs.learn_one, x, y), outcome(learn, x, y)
        assert wanted == got
        if wanted[0] == "raised":
            return  # both are half-updated now, and would be undone
        if settled and n % settled == 0:
            settle()
            assert structural_digest(theirs) == structural_digest(ours)
    settle()
    assert structural_digest(theirs) == structural_digest(ours)


def outcome(call: Callable[..., Any], *args: Any) -> tuple[str, object]:
    try:
        return "said", bits(call(*args))
    except Exception as error:
        return "raised", f"{type(error).__name__}: {error}"


def bits(said: Any) -> object:
    """Return what was said with its types and every bit of its floats, in its own order."""
    if isinstance(said, dict):
        return [(key, bits(value)) for key, value in said.items()]
    if isinstance(said, float):
        return type(said), struct.pack("<d", said)
    return type(said), repr(said)
