"""River's catalogue as declared by users: every estimator, untrained, with its own test parameters.

Run as a script it prints, for every one that may be declared, its digest and a hash of what it
predicts while it learns: one line each, to be compared between processes.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import random
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import river
from river import (
    base,
    compose,
    ensemble,
    forest,
    linear_model,
    multiclass,
    neighbors,
    preprocessing,
    tree,
    utils,
)

from stream_app.errors import DeclarationError
from stream_app.learning.definition import prepare

EVENTS = 300
# Too slow for 300 events in a quick test; their digests are compared all the same.
SLOW = (
    "AMFRegressor",
    "ARFRegressor",
    "BernoulliNB",
    "BOLEClassifier",
    "ComplementNB",
    "DriftRetrainingClassifier",
    "HOFMClassifier",
    "HOFMRegressor",
    "LeveragingBaggingClassifier",
    "SRPClassifier",
    "SRPRegressor",
    "StackingClassifier",
)


def estimator_classes() -> dict[str, type]:
    """Every concrete estimator that can be imported here, by its name."""
    found: dict[str, type] = {}
    for module in pkgutil.walk_packages(river.__path__, "river."):
        try:
            members = vars(importlib.import_module(module.name))
        except ImportError:
            continue  # wants a package that is not installed
        for kind in members.values():
            if not (inspect.isclass(kind) and kind.__module__.startswith("river.")):
                continue
            if issubclass(kind, base.Estimator) and not inspect.isabstract(kind):
                found[f"{kind.__module__}:{kind.__qualname__}"] = kind
    return found


def estimators() -> Iterator[tuple[str, Any]]:
    """Every estimator under each of its own test parameters, and some that people combine."""
    for name, kind in sorted(estimator_classes().items()):
        try:
            variants: list[Any] = [
                kind(*params) if isinstance(params, tuple) else kind(**params)
                for params in kind._unit_test_params()  # type: ignore[attr-defined]
            ]
        except Exception:  # an inner part that needs parameters of its owner
            continue
        yield from ((f"{name}#{i}", variant) for i, variant in enumerate(variants))
    yield from combinations()


def combinations() -> Iterator[tuple[str, Any]]:
    """Models in which an order of hashes could show: ties, words, sums over selected features."""
    logistic: Any
    bagging: Any = ensemble.BaggingClassifier
    one_vs_one: Any = multiclass.OneVsOneClassifier
    logistic, scaler = linear_model.LogisticRegression, preprocessing.StandardScaler
    quick: dict[str, Any] = {"grace_period": 20, "delta": 0.1, "tau": 0.2}
    lazy = partial(neighbors.LazySearch, window_size=40)
    yield "select", compose.Select("b", "a", "n") | scaler() | logistic()
    yield (
        "union",
        (compose.Select("b", "a") | scaler()) + (compose.Select("n") | scaler()) | logistic(),
    )
    yield "bagged select", bagging(compose.Select("n", "b", "a") | logistic())
    yield "one vs one", one_vs_one(logistic())
    yield "neighbours", neighbors.KNNClassifier(engine=lazy())
    yield (
        "minkowski",
        neighbors.KNNClassifier(engine=lazy(dist_func=partial(utils.math.minkowski_distance, p=3))),
    )
    yield "adaptive tree", tree.HoeffdingAdaptiveTreeClassifier(**quick)
    yield "words", compose.FuncTransformer(words) | tree.HoeffdingTreeClassifier(**quick)
    yield (
        "binary words",
        compose.FuncTransformer(words) | tree.HoeffdingTreeClassifier(**quick, binary_split=True),
    )
    yield (
        "forest of words",
        compose.FuncTransformer(words)
        | forest.ARFClassifier(n_models=3, grace_period=20, delta=0.1, binary_split=True),
    )


def words(x: dict[str, Any]) -> dict[str, Any]:
    return {name: f"w{int(value * 3)}" for name, value in x.items()}


def events(kind: str, count: int = EVENTS) -> list[tuple[dict[str, Any], Any]]:
    """Synthetic examples in canonical feature order: "binary", "words" or "numbers" as labels."""
    generator = random.Random(7)
    examples: list[tuple[dict[str, Any], Any]] = []
    for _ in range(count):
        x = {name: generator.random() for name in ("a", "b", "c", "n")}
        score = x["a"] + 2 * x["b"] * x["c"] + generator.gauss(0, 0.2)
        labels = {"binary": score > 1, "words": "lmnop"[min(4, max(0, int(2 * score)))]}
        examples.append((x, labels.get(kind, score)))
    return examples


def predictions(model: Any, examples: list[tuple[dict[str, Any], Any]]) -> Iterator[str]:
    """What `model` says before it learns each example, with every bit and in every detail."""
    for x, y in examples:
        try:
            probabilities = model.predict_proba_one(x)
        except (NotImplementedError, AttributeError):
            probabilities = None
        if isinstance(probabilities, dict):
            yield repr(sorted((repr(key), value) for key, value in probabilities.items()))
        yield repr(model.predict_one(x))
        model.learn_one(x, y)


def learned(name: str, model: Any) -> str:
    """A hash of all predictions over labels of a kind that suits `model`."""
    if any(f":{slow}#" in name for slow in SLOW):
        return "-"
    kind = "numbers" if isinstance(model, base.Regressor) else "binary"
    if kind == "binary" and model._multiclass:
        kind = "words"
    digest = hashlib.sha256()
    try:
        for text in predictions(model, events(kind)):
            digest.update(text.encode())
    except Exception as error:  # a model that cannot take these examples says so, equally
        digest.update(type(error).__name__.encode())
    return digest.hexdigest()


def predicts(model: Any) -> bool:
    """Whether a version could have this model: one that predicts labels or numbers."""
    last: Any = model
    while isinstance(last, compose.Pipeline):
        if not last.steps:
            return False
        last = list(last.steps.values())[-1]
    return isinstance(last, base.Classifier | base.Regressor)


def main() -> None:
    warnings.simplefilter("ignore")
    for name, model in estimators():
        try:
            prepared = prepare(model, seed=1)
        except DeclarationError:
            continue
        result = learned(name, prepared.prototype) if predicts(model) else "-"
        sys.stdout.write(f"{name} {prepared.digest} {result}\n")


if __name__ == "__main__":
    main()
