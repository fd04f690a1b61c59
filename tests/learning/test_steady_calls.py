"""A scaler and a linear model as one make every bit that River's objects make."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from river import base, linear_model, optim, preprocessing

from stream_app.learning.digests import structural_digest
from stream_app.learning.float_figures import FloatFigures
from stream_app.learning.quick_calls import quick_calls
from stream_app.learning.steady_calls import FEATURES_MAX, STEADY, SteadyCalls
from stream_app.learning.unrolled import Unrolled
from tests.learning.test_quick_calls import CLASSIFIERS, REGRESSORS, Example, outcome

FUSED = {
    **{name: CLASSIFIERS[name] for name in ("scaler|logistic", "clipped", "weighted")},
    "random start": CLASSIFIERS["random start"],
    **{name: REGRESSORS[name] for name in ("scaler|linear", "steep")},
}
ODD: list[Any] = [
    float("inf"),
    float("-inf"),
    float("nan"),
    1e308,
    -1e308,
    5e-324,
    -0.0,
    10**400,
    None,
    1j,
]
ODD += [np.float64(2.5), Fraction(1, 3), "word", True, 0, 10**17]
NAMES = "abc"
Form = type[Unrolled] | type[FloatFigures]


@pytest.fixture(params=[Unrolled, FloatFigures])
def form(request: pytest.FixtureRequest) -> Form:
    chosen: Form = request.param
    return chosen


def stretches(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield features that are mostly the same ones, with plain values; some other, some odd."""
    for _ in range(rng.randint(2, 4)):
        for _ in range(STEADY + rng.randint(0, 6)):
            yield {name: rng.choice([rng.gauss(0, 3), rng.randint(0, 3)]) for name in NAMES}
        other = {name: rng.gauss(0, 3) for name in rng.sample("abcd", rng.randint(0, 4))}
        yield rng.choice([other, dict.fromkeys(NAMES, 0.5) | {"b": rng.choice(ODD)}])


def says(model: Any) -> Callable[[Any], Any]:
    *_, last = model.steps.values()
    call: Callable[[Any], Any] = model.predict_one
    return model.predict_proba_one if isinstance(last, base.Classifier) else call


def calls_of(model: Any, form: Form) -> SteadyCalls:
    made = quick_calls(model, says(model), lasting=True)
    both = made.predict.__self__  # type: ignore[attr-defined]
    assert isinstance(both, SteadyCalls)
    both._make = form
    return both


def same(ours: Callable[..., Any], theirs: Callable[..., Any], *given: Any) -> bool:
    """Compare two calls; tells whether they raised."""
    wanted = outcome(theirs, *given)
    assert outcome(ours, *given) == wanted
    return wanted[0] == "raised"


def compare(
    make: Callable[[], Any],
    form: Form,
    stream: list[Example],
    settled: int,
    *,
    predicts: bool = True,
) -> SteadyCalls | None:
    """Make the same calls both ways; None once they have raised: then both would be undone."""
    theirs, model = make(), make()
    ours = calls_of(model, form)
    with np.errstate(all="ignore"):
        for n, (x, y) in enumerate(stream):
            if predicts and same(ours.predict, says(theirs), x):
                return None
            if same(ours.learn, theirs.learn_one, x, y):
                return None
            if settled and n % settled == 0:
                ours.settle()
                assert structural_digest(theirs) == structural_digest(model)
        ours.settle()
        assert structural_digest(theirs) == structural_digest(model)
    return ours


@pytest.mark.parametrize("name", FUSED)
def test_what_is_said_and_becomes_is_what_rivers_own_calls_make(name: str, form: Form) -> None:
    classes = name in CLASSIFIERS
    for seed in range(200):
        rng = random.Random(seed)
        rows = [(x, rng.random() < 0.5 if classes else rng.gauss(0, 3)) for x in stretches(rng)]
        compare(FUSED[name], form, rows, settled=seed % 4)


@pytest.mark.parametrize("name", ["scaler|logistic", "scaler|linear"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:9])
def test_an_odd_value_among_steady_ones_does_what_it_does_to_rivers_objects(
    name: str, value: Any, form: Form
) -> None:
    rows: list[Example] = [({"a": float(n), "b": n % 3}, n % 2 == 0) for n in range(STEADY + 2)]
    stream = [*rows, ({"a": value, "b": 1}, True), *rows, *rows]
    compare(FUSED[name], form, stream, settled=0)
    compare(FUSED[name], form, stream, settled=0, predicts=False)


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:9])
def test_a_value_that_nobody_looks_at_may_be_any(value: Any, form: Form) -> None:
    """A feature that has been constant is scaled to zero, whatever comes."""
    model, theirs = FUSED["scaler|logistic"](), FUSED["scaler|logistic"]()
    ours = calls_of(model, form)
    for n in range(STEADY):
        ours.learn({"a": 5.0, "b": float(n)}, n % 2 == 0)
        theirs.learn_one({"a": 5.0, "b": float(n)}, n % 2 == 0)
    assert ours.begun
    x = {"a": value, "b": 1.5}
    assert not same(ours.predict, theirs.predict_proba_one, x)


def test_a_sum_of_nothing_has_no_sign(form: Form) -> None:
    def make() -> Any:
        last = linear_model.LinearRegression(optim.SGD(0.0), intercept_init=-0.0, intercept_lr=0.0)
        return preprocessing.StandardScaler() | last

    ours = compare(make, form, [({"a": n % 3 - 1.0}, 0.0) for n in range(STEADY + 9)], settled=0)
    assert ours is not None
    assert ours.begun


def test_steep_and_flat_losses_are_those_of_river(form: Form) -> None:
    stream = [({"a": (-1.0) ** n * 10 ** (n % 7), "b": float(n)}, n % 3 == 0) for n in range(400)]

    def make() -> Any:
        return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(30.0))

    ours = compare(make, form, stream, 0)
    assert ours is not None
    assert ours.begun


def test_features_that_stay_away_are_met_on_rivers_objects_and_steady_ones_begin_again(
    form: Form,
) -> None:
    model = FUSED["scaler|logistic"]()
    ours = calls_of(model, form)
    x = {"a": 1.0, "b": 2.0}
    seen = []
    for n in range(STEADY):
        assert not ours.begun
        ours.learn(x | {"a": float(n)}, n % 2 == 0)
    for less in (x, {"b": 2.0, "a": 1.0}, x, {"a": 1.0}, x, x | {"c": 0.0}):
        ours.predict(less)
        seen.append(ours.begun)
        for n in range(STEADY):
            ours.learn(x | {"a": float(n)}, n % 2 == 0)
        assert ours.begun
    assert seen == [True, False, True, False, True, False]


def test_what_is_settled_is_good_to_go_on_with(form: Form) -> None:
    theirs, model = FUSED["scaler|logistic"](), FUSED["scaler|logistic"]()
    ours = calls_of(model, form)
    for n in range(5 * STEADY):
        x, y = {"a": float(n % 5), "b": 1.0}, n % 3 == 0
        ours.learn(x, y)
        theirs.learn_one(x, y)
        ours.settle()
        assert structural_digest(theirs) == structural_digest(model)
        assert ours.begun == (n + 1 >= STEADY)
    model["LogisticRegression"].intercept = 5.0
    ours.settle()
    assert model["LogisticRegression"].intercept == 5.0  # nothing was learned since


@pytest.mark.parametrize(
    ("features", "begins"), [(0, False), (1, True), (FEATURES_MAX, True), (FEATURES_MAX + 1, False)]
)
def test_as_many_features_are_fused_as_a_processor_has_at_hand(
    features: int, begins: bool, form: Form
) -> None:
    stream = [({f"f{i}": i + n % 7 for i in range(features)}, n % 3 == 0) for n in range(30)]
    ours = compare(FUSED["scaler|logistic"], form, stream, 0)
    assert ours is not None
    assert ours.begun == begins


def test_figures_that_river_itself_would_not_make_stay_where_they_are(form: Form) -> None:
    def spoiled(how: Callable[[Any, Any], object]) -> bool:
        model = FUSED["scaler|logistic"]()
        model.learn_one({"a": 1.0}, True)
        how(model["StandardScaler"], model["LogisticRegression"])
        ours = calls_of(model, form)
        for n in range(STEADY):
            ours.learn({"a": float(n)}, n % 2 == 0)
        return not ours.begun

    number = np.float64(0.5)
    assert not spoiled(lambda scaler, linear: None)
    assert not spoiled(lambda scaler, linear: setattr(linear.optimizer.lr, "learning_rate", 1))
    assert spoiled(lambda scaler, linear: scaler.means.update(a=number))
    assert spoiled(lambda scaler, linear: scaler.vars.update(a=number))
    assert spoiled(lambda scaler, linear: scaler.vars.update(a=float("nan")))
    assert spoiled(lambda scaler, linear: scaler.counts.update(a=number))
    assert spoiled(lambda scaler, linear: setattr(linear, "intercept", number))
    assert spoiled(lambda scaler, linear: setattr(linear.optimizer, "n_iterations", 0.5))
    assert spoiled(lambda scaler, linear: setattr(linear.optimizer.lr, "learning_rate", number))
    assert spoiled(lambda scaler, linear: setattr(linear.intercept_lr, "learning_rate", number))


def test_a_label_that_raises_changes_nothing(form: Form) -> None:
    model = FUSED["scaler|logistic"]()
    ours = calls_of(model, form)
    for n in range(STEADY):
        ours.learn({"a": float(n)}, n % 2 == 0)
    ours.settle()
    before = structural_digest(model)
    with pytest.raises(ValueError, match="word"):
        ours.learn({"a": 3.0}, "word")
    ours.settle()
    assert structural_digest(model) == before
