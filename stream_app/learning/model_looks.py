"""Looks into a model: what its steps make of features, and what its answer is made of.

Whatever is looked at is a copy: asking a model, even for a prediction, may change it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import msgspec
from river import base, compose, linear_model
from river.tree.base import Branch

from stream_app.learning.tasks import Task

FEATURES_LEFT_OUT_MAX = 100
TREES_MAX = 100


class Transformed(msgspec.Struct, frozen=True):
    """The features after one step of a pipeline."""

    step: str
    features: dict[str, Any]


class Term(msgspec.Struct, frozen=True):
    """One feature's share of a linear model's sum."""

    feature: str
    value: Any
    weight: float
    contribution: float


class Linear(msgspec.Struct, frozen=True):
    """A sum of terms, the largest first, and the intercept; `label` where each class has one."""

    total: float
    unit: str
    intercept: float
    terms: list[Term]
    label: str | None = None


class Split(msgspec.Struct, frozen=True):
    """A branch that was taken, and the value that decided; None: the feature was absent."""

    taken: str
    feature: str
    value: Any


class TreePath(msgspec.Struct, frozen=True):
    """The way through one tree to a leaf, what the leaf has seen, and what it says."""

    splits: list[Split]
    leaf: dict[str, Any]
    says: dict[str, Any] | float | None
    weight: float | None = None


class Without(msgspec.Struct, frozen=True):
    """What the model would say if a feature were absent."""

    feature: str
    prediction: Any
    probability: Any


class Look(msgspec.Struct, frozen=True):
    """All that can be told of one answer; `linear` and `trees` where the model is of that kind."""

    model: str
    steps: list[Transformed]
    linear: list[Linear]
    trees: list[TreePath]
    without: list[Without]
    notes: list[str]


def look(model: Any, features: Mapping[str, Any], task: Task) -> Look:
    """Return what `model`, a copy of its own, makes of `features`; raises nothing of the model's.

    What raises on the way is left out, with a note.
    """
    notes: list[str] = []
    steps: list[Transformed] = []
    x: Any = dict(features)
    last = model
    try:
        for last, seen in _steps(model, x):
            if seen is not None:
                steps.append(Transformed(type(last).__name__, _plain_dict(seen)))
                x = seen
    except Exception as error:
        notes.append(f"step {type(last).__name__} raised {type(error).__name__}: {error}")
    linear, trees = _kinds(last, x, notes)
    without = [] if linear else _without(model, features, task)
    return Look(type(last).__name__, steps, linear, trees, without, notes)


def _steps(model: Any, x: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every transformer with what it hands on, and at last what predicts with None."""
    while isinstance(model, compose.Pipeline):
        *transformers, model = model.steps.values()
        for step in transformers:
            x = step.transform_one(x)
            yield step, x
    yield model, None


def _kinds(last: Any, x: Any, notes: list[str]) -> tuple[list[Linear], list[TreePath]]:
    try:
        return list(_linear(last, x)), list(_trees(last, x))[:TREES_MAX]
    except Exception as error:
        notes.append(f"{type(last).__name__} raised {type(error).__name__}: {error}")
        return [], []


def _linear(model: Any, x: Mapping[str, Any]) -> Iterator[Linear]:
    if isinstance(model, linear_model.SoftmaxRegression):
        for label, weights in model.weights.items():
            yield _sum(weights, 0.0, x, "score before softmax", str(label))
        return
    known: dict[str, Any] = {name: getattr(model, name, None) for name in ("weights", "intercept")}
    if isinstance(known["weights"], Mapping) and isinstance(known["intercept"], int | float):
        yield _sum(known["weights"], known["intercept"], x, _unit(model), None)


def _unit(model: Any) -> str:
    if type(model) is linear_model.LogisticRegression:
        return "log-odds"
    return "units of the label" if isinstance(model, base.Regressor) else "score"


def _sum(
    weights: Mapping[str, float], intercept: float, x: Mapping[str, Any], unit: str, label: Any
) -> Linear:
    terms = []
    for feature, value in x.items():
        weight = float(weights.get(feature, 0.0))
        terms.append(Term(str(feature), _plain(value), weight, weight * float(value)))
    terms.sort(key=lambda term: -abs(term.contribution))
    total = float(intercept) + sum(term.contribution for term in terms)
    return Linear(total, unit, float(intercept), terms, label)


def _trees(model: Any, x: Mapping[str, Any]) -> Iterator[TreePath]:
    if hasattr(model, "_root"):
        yield _path(model, x, None)
    elif isinstance(model, base.Ensemble):
        metrics = getattr(model, "_metrics", None) or [None] * len(model)
        for member, metric in zip(model, metrics, strict=False):
            if hasattr(member, "_root"):
                yield _path(member, x, None if metric is None else float(metric.get()))


def _path(tree: Any, x: Mapping[str, Any], weight: float | None) -> TreePath:
    root = tree._root
    if root is None:
        return TreePath([], {}, None, weight)
    nodes = list(root.walk(x, until_leaf=True))
    splits = [_split(node, following, x) for node, following in pairwise(nodes) if _is_branch(node)]
    says = tree.predict_proba_one(x) if hasattr(tree, "predict_proba_one") else tree.predict_one(x)
    leaf = {} if _is_branch(nodes[-1]) else _leaf(nodes[-1])
    return TreePath(splits, leaf, _plain(says), weight)


def _is_branch(node: Any) -> bool:
    return isinstance(node, Branch)


def _split(node: Any, following: Any, x: Mapping[str, Any]) -> Split:
    [taken] = [i for i, child in enumerate(node.children) if child is following]
    feature = str(node.feature)
    return Split(node.repr_branch(taken), feature, _plain(x.get(node.feature)))


def _leaf(leaf: Any) -> dict[str, Any]:
    """Return what a leaf has seen: weights by class, or the labels' mean and variance."""
    stats: Any = getattr(leaf, "stats", None)
    if isinstance(stats, Mapping):
        return _plain_dict(stats)
    mean: Any = getattr(stats, "mean", None)
    if mean is None:
        return {}
    return {"examples": _plain(mean.n), "mean": _plain(mean.get()), "variance": _plain(stats.get())}


def _without(model: Any, features: Mapping[str, Any], task: Task) -> list[Without]:
    """Ask again with each feature absent: which ones matter to a model that is no sum."""
    predict = task.predictor(model)
    rows = []
    for name in list(features)[:FEATURES_LEFT_OUT_MAX]:
        rest = {other: value for other, value in features.items() if other != name}
        try:
            prediction, probability = task.publish(task.plain(predict(rest)))
        except Exception as error:
            prediction, probability = f"raises {type(error).__name__}", None
        rows.append(Without(name, prediction, _plain(probability)))
    return rows


def _plain_dict(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, Mapping):
        return _plain_dict(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if number - number == 0.0 else str(number)
