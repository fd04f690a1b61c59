"""Mistakes are caught where they are declared, by their path, with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NotRequired, Required, TypedDict

import pytest
from river import (
    active,
    anomaly,
    cluster,
    compose,
    drift,
    ensemble,
    forest,
    linear_model,
    metrics,
    neighbors,
    preprocessing,
    tree,
)

from stream_app.codec.limits import Limits
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.feature_types import feature_types
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.errors import DeclarationError
from stream_app.learning.tasks import Binary, Multiclass, Regression

logistic = linear_model.LogisticRegression


def declare(**changes: Any) -> Pipeline:
    declared: dict[str, Any] = {
        "task": Binary(),
        "versions": {"v1": Version(logistic())},
        "metrics": {},
    }
    name = changes.pop("name", "p")
    return Pipeline(name, **{**declared, **changes})


def one(model: Any) -> dict[str, Version]:
    return {"v1": Version(model)}


def trained() -> Any:
    model = logistic()
    model.learn_one({"a": 1.0}, True)
    return model


MISTAKES: dict[str, tuple[Callable[[], object], str, str]] = {
    # what: (declaration, how the problem begins, a part of what to write instead)
    "a name with capitals": (lambda: declare(name="Flights"), "name: 'Flights'", "lower-case"),
    "a name with a dot": (lambda: declare(name="a.b"), "name: 'a.b'", "lower-case"),
    "no name": (lambda: declare(name=""), "name: ''", "lower-case"),
    "a task's class": (lambda: declare(task=Binary), "task: expected a task", "Binary()"),
    "a task's name": (lambda: declare(task="binary"), "task: expected a task", "Binary()"),
    "one word": (lambda: Binary("late"), "task: Binary takes two", 'negative="on time"'),
    "the same word twice": (lambda: Binary("a", "a"), "task: Binary takes two", "Binary()"),
    "no versions": (lambda: declare(versions={}), "versions: a pipeline needs", "Version("),
    "a version's name": (
        lambda: declare(versions={"V 1": Version(logistic())}),
        "versions: 'V 1' is no name",
        "`v1`",
    ),
    "a model without a Version": (
        lambda: declare(versions={"v1": logistic()}),
        'versions["v1"]: expected a Version, got LogisticRegression',
        'versions={"v1": Version(model)}',
    ),
    "a model that is a class": (
        lambda: declare(versions=one(logistic)),
        'versions["v1"].model',
        "LogisticRegression()",
    ),
    "a trained model": (lambda: declare(versions=one(trained())), 'versions["v1"].model', ""),
    "a regressor for classes": (
        lambda: declare(versions=one(linear_model.LinearRegression())),
        'versions["v1"].model: LinearRegression is no classifier',
        "a River classifier",
    ),
    "a classifier for numbers": (
        lambda: declare(task=Regression()),
        'versions["v1"].model: LogisticRegression is no regressor',
        "a River regressor",
    ),
    "a scaler alone": (
        lambda: declare(versions=one(preprocessing.StandardScaler())),
        'versions["v1"].model: StandardScaler is no classifier',
        "a River classifier",
    ),
    "a clusterer": (
        lambda: declare(versions=one(cluster.KMeans(seed=1))),
        'versions["v1"].model',
        "",
    ),
    "an anomaly detector": (
        lambda: declare(versions=one(anomaly.HalfSpaceTrees(seed=1))),
        'versions["v1"].model: HalfSpaceTrees is no classifier',
        "a River classifier",
    ),
    "an active learner": (
        lambda: declare(versions=one(active.EntropySampler(logistic(), seed=1))),
        'versions["v1"].model: EntropySampler asks for labels',
        "the classifier inside it",
    ),
    "a lambda": (
        lambda: declare(versions=one(compose.FuncTransformer(lambda x: x) | logistic())),
        'versions["v1"].model["<lambda>"]',
        "at the top of the pipeline's file",
    ),
    "a graph that is shared": (
        lambda: declare(versions=one(neighbors.KNNClassifier())),
        'versions["v1"].model.engine: SWINN is refused',
        "LazySearch",
    ),
    "a bound that a restore changes": (
        lambda: declare(versions=one(tree.HoeffdingTreeClassifier(max_size=0.001))),
        'versions["v1"].model',
        "max_size",
    ),
    "features that are none": (
        lambda: declare(versions={"v1": Version(logistic(), features=[])}),
        'versions["v1"].features: no features',
        "leave `features` out",
    ),
    "a feature that is no name": (
        lambda: declare(versions={"v1": Version(logistic(), features=[1])}),  # type: ignore[list-item]
        'versions["v1"].features: 1 is no name',
        "names",
    ),
    "features in a list": (
        lambda: declare(features=["a"]),
        "features: expected a mapping",
        "float | None",
    ),
    "a feature of a wrong type": (
        lambda: declare(features={"a": list}),
        "features.a: <class 'list'>",
        "float, int, bool or str",
    ),
    "a feature of two types": (
        lambda: declare(features={"a": int | str}),
        "features.a: ",
        "float, int, bool or str",
    ),
    "no champion among two": (
        lambda: declare(versions={"a": Version(logistic()), "b": Version(logistic())}),
        "initial_champion: several versions",
        'initial_champion="a"',
    ),
    "an unknown champion": (
        lambda: declare(initial_champion="v2"),
        "initial_champion: 'v2'",
        "one of v1",
    ),
    "a wait in seconds": (
        lambda: declare(labels=Labels(wait=3600)),
        "labels.wait: 3600",
        "timedelta(days=2)",
    ),
    "a bare wait": (
        lambda: declare(labels=timedelta(days=1)),
        "labels: expected Labels",
        "Labels(wait=",
    ),
    "a seed that is text": (lambda: declare(seed="1"), "seed: expected int", "seed=1"),
    "versions in a list": (
        lambda: declare(versions=[Version(logistic())]),
        "versions: expected Mapping",
        "Version(",
    ),
    "a monitor alone": (
        lambda: declare(drift=DriftMonitor("error", drift.ADWIN())),
        "drift: expected Iterable",
        "drift=[DriftMonitor(",
    ),
    "a feature's name alone": (
        lambda: Version(logistic(), features="delay"),
        "Version.features: 'delay' is one string",
        "features=['delay']",
    ),
    "no wait": (
        lambda: declare(labels=Labels(wait=timedelta(0))),
        "labels.wait: ",
        "timedelta(days=2)",
    ),
    "model_per": (lambda: declare(model_per="user"), "model_per: 'user'", "one of pipeline"),
    "evaluate_every": (lambda: declare(evaluate_every=0), "evaluate_every: 0", "1 or more"),
    "digest_every": (lambda: declare(digest_every=1.5), "digest_every: 1.5", "1 or more"),
    "no limits": (lambda: declare(limits={"ids_max": 1}), "limits: expected Limits", "Limits("),
    "ids_max": (lambda: declare(limits=Limits(ids_max=0)), "limits.ids_max: Expected", "Limits()"),
    "magnitude_max": (
        lambda: declare(limits=Limits(magnitude_max=1e30)),
        "limits.magnitude_max: Expected `float` <= 1e+18",
        "Limits()",
    ),
    "early_max": (lambda: declare(limits=Limits(early_max=-1)), "limits.early_max: ", "Limits()"),
    "failures_max": (
        lambda: declare(limits=Limits(failures_max="3")),  # type: ignore[arg-type]
        "limits.failures_max: Expected `int`",
        "Limits()",
    ),
    "a metric's name": (lambda: declare(metrics="AUC"), "metrics", "metrics="),
    "a metric for numbers": (
        lambda: declare(metrics=metrics.MAE()),
        "metrics.MAE: MAE cannot score task binary",
        "ROCAUC",
    ),
    "a binary metric for classes": (
        lambda: declare(task=Multiclass(), metrics=metrics.F1()),
        "metrics.F1: F1 cannot score task multiclass",
        "MacroF1",
    ),
    "the same metric twice": (
        lambda: declare(metrics=metrics.Accuracy() + metrics.Accuracy()),
        "metrics: Accuracy is there twice",
        "names of your own",
    ),
    "a metric that needs probabilities": (
        lambda: declare(
            versions=one(ensemble.VotingClassifier([logistic(), tree.HoeffdingTreeClassifier()])),
            metrics=metrics.LogLoss(),
        ),
        'metrics.LogLoss: LogLoss needs probabilities, which versions["v1"]',
        "metrics.Accuracy()",
    ),
    "a metric without one number": (
        lambda: declare(metrics=metrics.ClassificationReport()),
        "metrics.ClassificationReport",
        "",
    ),
    "a detector alone": (
        lambda: declare(drift=[drift.ADWIN()]),
        "drift[0]: expected a DriftMonitor, got ADWIN",
        'DriftMonitor("error"',
    ),
    "no detector": (
        lambda: declare(drift=[DriftMonitor("error", forest.ARFClassifier(seed=1))]),
        "drift[0].detector: ARFClassifier is no drift detector",
        "drift.ADWIN()",
    ),
    "something else to watch": (
        lambda: declare(drift=[DriftMonitor("label", drift.ADWIN())]),
        "drift[0]: 'label' cannot be watched",
        '"feature:<name>"',
    ),
    "a feature that is not declared": (
        lambda: declare(features={"a": float}, drift=[DriftMonitor("feature:b", drift.ADWIN())]),
        "drift[0]: feature 'b' is missing",
        "a declared float or int",
    ),
    "a word to watch": (
        lambda: declare(
            features={"a": str | None}, drift=[DriftMonitor("feature:a", drift.ADWIN())]
        ),
        "drift[0]: feature 'a' is str",
        "a declared float or int",
    ),
    "an unknown action": (
        lambda: declare(
            drift=[DriftMonitor("error", drift.ADWIN(), action="retrain")]  # type: ignore[arg-type]
        ),
        "drift[0].action: 'retrain'",
        "one of alert, reset",
    ),
    "two monitors of one name": (
        lambda: declare(
            drift=[DriftMonitor("error", drift.ADWIN()), DriftMonitor("error", drift.ADWIN())]
        ),
        "drift[1]: two monitors are named 'error'",
        'name="another"',
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_names_the_parameter_and_what_to_write_instead(what: str) -> None:
    make, problem, attempt = MISTAKES[what]
    with pytest.raises(DeclarationError) as caught:
        make()
    assert caught.value.problem.startswith(problem)
    assert attempt in caught.value.attempt


class Partial(TypedDict, total=False):
    wind: float
    gusts: Required[float]


class Weather(Partial):
    rain: bool
    snow: NotRequired[int]
    sky: str | None


def test_a_typed_dict_declares_what_may_be_absent() -> None:
    assert feature_types(Weather) == {
        "gusts": "float",
        "rain": "bool",
        "sky": "str?",
        "snow": "int?",
        "wind": "float?",
    }


def test_a_definition_is_the_same_in_whatever_order_features_were_selected() -> None:
    one_way = declare(versions={"v1": Version(logistic(), features=["b", "a", "a"])})
    other = declare(versions={"v1": Version(logistic(), features=["a", "b"])})
    assert one_way.definitions() == other.definitions()


def test_monitors_that_reset_are_part_of_a_definition_and_those_that_alert_are_not() -> None:
    plain = declare().definitions()
    alerts = declare(drift=[DriftMonitor("error", drift.ADWIN())])
    resets = declare(drift=[DriftMonitor("error", drift.ADWIN(), action="reset")])
    assert alerts.definitions() == plain
    assert resets.definitions() != plain


def test_nothing_of_a_declaration_is_trained_by_running_it() -> None:
    model = logistic()
    pipeline = declare(versions=one(model))
    pipeline.evaluate([({"a": 1.0}, True), ({"a": 0.5}, False)])
    assert not model.weights
    assert not declare(versions=one(model)).evaluate([]).__dict__.get("weights")
