"""What is refused when it is declared, with the parameter's path and what to write instead."""

from __future__ import annotations

import functools
import random
import sys
from typing import Any

import pytest
from river import (
    base,
    cluster,
    compose,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    neighbors,
    preprocessing,
    tree,
)

from stream_app.errors import DeclarationError
from stream_app.learning.definition import describe, prepare
from stream_app.learning.refusals import REFUSED, TREE_DEPTH_MAX
from stream_app.learning.tasks import Regression
from tests.learning import users_code
from tests.learning.estimators import estimator_classes, estimators, events, predicts

PATH = 'versions["v1"].model'


def refusal(model: Any) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        prepare(model, seed=1, path=PATH)
    assert caught.value.problem.startswith(PATH)
    assert caught.value.attempt
    return caught.value


def trained(model: Any) -> Any:
    kind = "numbers" if isinstance(model, base.Regressor) else "binary"
    for x, y in events(kind, 40):
        model.learn_one(x, y)
    return model


def test_a_trained_model_is_refused_wherever_it_is_nested() -> None:
    learned = trained(linear_model.LogisticRegression())
    for model in (
        learned,
        preprocessing.StandardScaler() | learned,
        ensemble.VotingClassifier([linear_model.LogisticRegression(), learned]),
        trained(forest.ARFClassifier(n_models=2, seed=1)),
    ):
        refused = refusal(model)
        assert "already seen data" in refused.problem
        assert "start=" not in refused.attempt  # no parameter of Version: the log alone teaches


def test_a_pipeline_without_steps_is_refused_by_its_path() -> None:
    assert "no steps" in refusal(compose.Pipeline()).problem


def test_a_regressor_of_several_numbers_is_refused_and_not_null_for_ever() -> None:
    with pytest.raises(DeclarationError, match="predicts several numbers"):
        Regression().predictor(tree.ISOUPTreeRegressor())


def test_no_untrained_estimator_of_river_is_taken_for_trained() -> None:
    accepted = 0
    for name, estimator in estimators():
        try:
            prepare(estimator, seed=1)
            accepted += 1
        except DeclarationError as error:
            if describe_name(error) not in REFUSED and "no steps" not in error.problem:
                pytest.fail(f"{name}: {error}")
    assert accepted > 150


def describe_name(error: DeclarationError) -> str:
    """The class that an error says is refused, by its public name."""
    short = error.problem.partition(" is refused")[0].rpartition(" ")[2]
    return next((name for name in REFUSED if name.endswith(f":{short}")), "")


def test_every_trained_predictor_of_river_is_seen_to_be_trained() -> None:
    unseen = []
    for name, estimator in estimators():
        if not predicts(estimator):
            continue
        try:
            prepare(trained(estimator), seed=1)
        except Exception:  # refused, or cannot take these examples at all
            continue
        unseen.append(name)
    # What these hold does not change as they learn: they follow the data's last value, or nothing.
    assert [name for name in unseen if "dummy" not in name] == []


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x, "no name of its own"),
        (users_code.made_inside(), "no name of its own"),
        (users_code.Shifted().transform_one, "cannot be described"),
        (dict.fromkeys, "no name of its own|cannot be described"),
        (functools.partial(lambda x, k: x, k=1), "no name of its own"),
    ],
)
def test_functions_without_a_name_are_refused(function: Any, reason: str) -> None:
    error = refusal(compose.FuncTransformer(function))
    assert error.problem.startswith(f"{PATH}.func")
    assert any(each in error.problem for each in reason.split("|"))


def test_code_without_a_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("typed_at_a_prompt")
    exec("def typed(x):\n    return x\n", vars(module))
    monkeypatch.setitem(sys.modules, "typed_at_a_prompt", module)
    error = refusal(compose.FuncTransformer(module.typed))
    assert "source" in error.problem


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (users_code.Forgetful(), "keeps no attribute for its parameter 'other'"),
        (users_code.Rounding(), "already seen data"),
        (users_code.Unseeded(), "has other parameters"),
        (users_code.Locked(), "cannot be saved"),
        (users_code.Shifted(by=random.Random(1)), "cannot be described"),  # type: ignore[arg-type]
        (preprocessing.StandardScaler, "cannot be described|is a class"),
    ],
)
def test_users_classes_that_cannot_be_made_again_or_saved_are_refused(
    model: Any, reason: str
) -> None:
    assert any(each in refusal(model).problem for each in reason.split("|"))


def test_random_numbers_drawn_at_construction_are_no_training() -> None:
    prepared = prepare(users_code.Lucky(), seed=1)
    again = prepare(users_code.Lucky(), seed=1)
    assert prepared.prototype.numbers == again.prototype.numbers


@pytest.mark.parametrize(
    "model",
    [
        cluster.KMeans(),
        neighbors.KNNClassifier(),
        neighbors.KNNRegressor(engine=neighbors.SWINN()),
        feature_extraction.RandomTreesEmbedding() | linear_model.LogisticRegression(),
    ],
)
def test_what_no_replay_could_reproduce_is_refused(model: Any) -> None:
    assert "is refused" in refusal(model).problem


def test_every_refused_class_exists() -> None:
    public = {
        str(described["object"])
        for kind in estimator_classes().values()
        if kind.__name__ in {name.partition(":")[2] for name in REFUSED}
        and isinstance(described := describe(kind()), dict)
    }
    assert public | {"river.neighbors:SWINN"} == set(REFUSED)


def test_a_bound_on_a_trees_memory_is_refused() -> None:
    error = refusal(ensemble.BaggingClassifier(tree.HoeffdingTreeClassifier(max_size=5)))
    assert error.problem.startswith(f"{PATH}.model.max_size")
    assert "max_depth" in error.attempt


def test_a_tree_too_deep_to_be_saved_is_refused() -> None:
    error = refusal(tree.HoeffdingTreeRegressor(max_depth=TREE_DEPTH_MAX + 1))
    assert error.problem.startswith(f"{PATH}.max_depth")


def test_memory_estimates_of_all_trees_are_switched_off_and_named() -> None:
    model = preprocessing.StandardScaler() | ensemble.SRPClassifier(n_models=2)
    prepared = prepare(model, seed=1)
    assert prepared.switched_off == [
        '["SRPClassifier"].model.memory_estimate_period',
        '["SRPClassifier"].model.max_depth',
    ]
    inner = prepared.prototype["SRPClassifier"].model
    assert inner.max_depth == TREE_DEPTH_MAX


@pytest.mark.parametrize("kind", [tree.HoeffdingTreeClassifier, forest.ARFClassifier])
def test_a_prepared_tree_never_estimates_its_memory(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def estimate(self: object) -> None:
        calls.append(self)

    monkeypatch.setattr(tree.hoeffding_tree.HoeffdingTree, "_estimate_model_size", estimate)
    given = kind(memory_estimate_period=1)
    prepared = prepare(given, seed=1).prototype
    for x, y in events("binary", 60):
        prepared.learn_one(x, y)
    assert calls == []
    given.learn_one({"a": 1.0}, True)
    assert calls != []


def test_something_within_itself_is_refused() -> None:
    models: list[Any] = []
    models.append(models)
    with pytest.raises(DeclarationError, match="within itself"):
        describe(models)
