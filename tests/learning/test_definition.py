"""What a definition promises: the same tree, digest and learning in every process."""

from __future__ import annotations

import copy
import datetime
import functools
import importlib
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import river
from river import (
    compose,
    forest,
    linear_model,
    multiclass,
    neighbors,
    optim,
    preprocessing,
    stats,
    tree,
    utils,
)

from stream_app.errors import DeclarationError
from stream_app.learning.definition import (
    build,
    definition_digest,
    describe,
    prepare,
    users_own,
)
from stream_app.learning.description import describe_in_full
from stream_app.learning.order_free import SortedSet
from tests.learning import users_code
from tests.learning.estimators import estimators, events, predictions

# River's metrics and detectors carry no types for their constructors.
metrics: Any = river.metrics
drift: Any = river.drift
one_vs_one: Any = multiclass.OneVsOneClassifier


def scaled_regression(**parameters: Any) -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(**parameters)


def test_only_what_differs_from_the_defaults_is_described() -> None:
    assert describe(scaled_regression(l2=0.5)) == {
        "object": "river.compose:Pipeline",
        "steps": [
            ["StandardScaler", {"object": "river.preprocessing:StandardScaler", "params": {}}],
            [
                "LogisticRegression",
                {"object": "river.linear_model:LogisticRegression", "params": {"l2": 0.5}},
            ],
        ],
    }


def test_writing_a_default_out_changes_nothing() -> None:
    written = linear_model.LogisticRegression(optimizer=optim.SGD(0.01), intercept_lr=0.01)
    assert describe(written) == describe(linear_model.LogisticRegression())


@pytest.mark.parametrize(
    "changed",
    [
        linear_model.LogisticRegression(optimizer=optim.SGD(0.02)),
        linear_model.LogisticRegression(optimizer=optim.Adam()),
        linear_model.LogisticRegression(l2=1),
        linear_model.LinearRegression(),
    ],
)
def test_another_parameter_however_deep_is_another_digest(changed: Any) -> None:
    default = definition_digest(describe(linear_model.LogisticRegression()))
    assert definition_digest(describe(changed)) != default


def test_the_digest_of_a_known_model_never_changes() -> None:
    tree_of_it = describe(scaled_regression(l2=0.5))
    expected = "af4066dff5e5c05eda680b18dbc9a7874f77c8f8c4e05e373c651a33cd68e590"
    assert definition_digest(tree_of_it) == expected


def test_every_estimator_of_river_is_rebuilt_from_its_description() -> None:
    count = 0
    for name, estimator in estimators():
        described = describe(estimator)
        known = users_own(estimator)
        rebuilt = build(json.loads(json.dumps(described)), known)
        assert describe(rebuilt) == described, name
        assert describe_in_full(rebuilt) == describe_in_full(estimator), name
        count += 1
    assert count > 150


@pytest.mark.parametrize(
    "value",
    [
        metrics.ROCAUC(n_thresholds=100) + metrics.LogLoss(),
        metrics.Accuracy() + metrics.FBeta(2.0),
        utils.Rolling(metrics.MAE, window_size=7),
        utils.TimeRolling(stats.Var, period=datetime.timedelta(days=2), ddof=0),
        metrics.ConfusionMatrix(classes=["b", "a"]),
        drift.ADWIN(delta=0.01),
        drift.KSWIN(seed=3),
        drift.PageHinkley(),
        drift.binary.DDM(),
        optim.Adam(lr=optim.schedulers.InverseScaling(0.1)),
        optim.losses.Huber(0.3),
        functools.partial(utils.math.minkowski_distance, p=3),
        {"a": [1, (2.5, None, True)], 3: {"z", "y"}, "t": datetime.timedelta(hours=5)},
        [math.inf, -math.inf, 1 << 70, -0.0, b"\x00\xff", frozenset({2, 1}), str, math.log],
    ],
)
def test_metrics_detectors_and_plain_values_are_rebuilt(value: Any) -> None:
    described = describe(value)
    rebuilt = build(json.loads(json.dumps(described)))
    assert type(rebuilt) is type(value)
    assert describe(rebuilt) == described


def test_a_rebuilt_metric_measures_the_same() -> None:
    metric = metrics.ROCAUC(n_thresholds=30) + metrics.LogLoss()
    rebuilt = build(describe(metric))
    for i in range(200):
        for each in (metric, rebuilt):
            each.update(i % 3 == 0, {True: (i * 37 % 100) / 100, False: 1 - (i * 37 % 100) / 100})
    assert rebuilt.get() == metric.get()


def test_not_a_number_is_described_and_rebuilt() -> None:
    described = describe([math.nan])
    assert math.isnan(build(described)[0])
    assert describe(build(described)) == described


def test_every_process_and_hash_seed_gives_the_same_digests_and_predictions() -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.learning.estimators"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "2")
    ]
    first, second = (child.communicate()[0].splitlines() for child in children)
    assert [child.returncode for child in children] == [0, 0]
    assert len(first) > 150
    assert [line for line in zip(first, second, strict=True) if line[0] != line[1]] == []


@pytest.mark.parametrize(
    ("model", "attribute"),
    [
        (one_vs_one(linear_model.LogisticRegression()), "classes"),
        (forest.AMFClassifier(), "_classes"),
        (tree.HoeffdingAdaptiveTreeClassifier(), "classes"),
        (neighbors.KNNClassifier(engine=neighbors.LazySearch()), "classes"),
    ],
)
def test_classes_are_met_in_order_also_by_clones_and_after_a_restore(
    model: Any, attribute: str
) -> None:
    learner = prepare(model, seed=1).prototype.clone()
    for x, y in events("words", 40):
        learner.learn_one(x, y)
    for each in (learner, pickle.loads(pickle.dumps(learner))):
        classes = getattr(each, attribute)
        assert list(classes) == sorted(classes) != []
        assert list(classes - {"l"}) == sorted(classes - {"l"})
        assert type(classes) is SortedSet


def test_two_calls_of_prepare_learn_alike() -> None:
    model = forest.ARFClassifier(n_models=3, grace_period=20)
    first, second = (prepare(model, seed=5).prototype for _ in range(2))
    examples = events("words")
    assert list(predictions(first, examples)) == list(predictions(second, examples))


def test_prepare_leaves_the_users_object_alone() -> None:
    model = scaled_regression() | compose.FuncTransformer(users_code.doubled)
    before = describe_in_full(model)
    prepare(model, seed=5)
    assert describe_in_full(model) == before


def test_a_prototype_is_described_by_its_tree_and_prepares_to_itself() -> None:
    for name, estimator in estimators():
        try:
            prepared = prepare(estimator, seed=9)
        except DeclarationError:
            continue
        assert describe(prepared.prototype) == prepared.tree, name
        assert prepare(prepared.prototype, seed=9).digest == prepared.digest, name


def test_the_recursion_limit_of_a_process_is_no_part_of_a_definition() -> None:
    limit = sys.getrecursionlimit()
    digests = set()
    try:
        for other in (limit, limit + 500):
            sys.setrecursionlimit(other)
            digests.add(prepare(tree.HoeffdingTreeClassifier(), seed=1).digest)
    finally:
        sys.setrecursionlimit(limit)
    assert len(digests) == 1


def test_users_functions_are_named_with_a_digest_of_their_source() -> None:
    described = describe(compose.FuncTransformer(users_code.doubled))
    assert isinstance(described, dict)
    assert described["params"]["func"]["name"] == "tests.learning.users_code:doubled"
    assert len(described["params"]["func"]["source"]) == 64


CODE = """
LIMIT = {limit}

def inner(x):
    return {{k: v for k, v in x.items() if v < LIMIT}}

def outer(x):
    return {call}(x)
"""


def digest_of(directory: Path, limit: int, call: str, comment: str = "") -> str:
    path = directory / "written_by_a_user.py"
    path.write_text(comment + CODE.format(limit=limit, call=call))
    sys.modules.pop("written_by_a_user", None)
    importlib.invalidate_caches()
    module = importlib.import_module("written_by_a_user")
    return definition_digest(describe(compose.FuncTransformer(module.outer)))


def test_a_change_of_users_code_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    original = digest_of(tmp_path, 5, "inner")
    assert digest_of(tmp_path, 5, "inner", comment="# elsewhere\n") == original
    assert digest_of(tmp_path, 5, "dict") != original
    assert digest_of(tmp_path, 6, "inner") != original


def test_the_directory_of_users_code_is_no_part_of_a_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digests = set()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.syspath_prepend(str(tmp_path / name))
        digests.add(digest_of(tmp_path / name, 5, "inner"))
    assert len(digests) == 1


def test_a_users_class_is_rebuilt_only_where_it_is_known() -> None:
    model = users_code.Shifted(by=2.0) | linear_model.LogisticRegression()
    described = describe(model)
    rebuilt = build(described, users_own(model))
    assert rebuilt["Shifted"].by == 2.0
    with pytest.raises(DeclarationError, match="neither River's nor defined"):
        build(described)


def test_users_code_that_changed_since_it_was_described_is_not_built() -> None:
    described = copy.deepcopy(describe(users_code.Shifted()))
    assert isinstance(described, dict)
    described["source"] = "0" * 64
    with pytest.raises(DeclarationError, match="not the code that was described"):
        build(described, users_own(users_code.Shifted()))


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "builtins:getattr",
        "subprocess:Popen",
        "river.base.base:sys",
        "river.base.base:inspect",
        "river.utils:os.system",
        "river.utils.__init__:math",
        "river._river_rust:__loader__",
        "river.utils.math:__builtins__",
        "riverside:Thing",
        "river:metrics",
        "river.metrics.base:collections",
        "river.utils.pandas:import_pandas",
        "numpy:load",
        "math:__loader__",
    ],
)
def test_no_other_name_is_ever_resolved(name: str) -> None:
    for described in ({"name": name}, {"object": name, "params": {}}):
        with pytest.raises(DeclarationError):
            build(described)


def test_looking_a_name_up_imports_nothing_but_river(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DeclarationError):
        build({"name": "trap:anything"})


@pytest.mark.parametrize(
    "nonsense",
    [{}, {"what": 1}, {"float": "x"}, {"object": 3}, {"steps": []}, {"dict": [1]}, {"int": None}],
)
def test_nonsense_is_named_as_such(nonsense: Any) -> None:
    with pytest.raises(DeclarationError):
        build(nonsense)


def test_a_description_too_deep_to_be_true_is_refused() -> None:
    described: Any = 1
    for _ in range(500):
        described = [described]
    with pytest.raises(DeclarationError, match="deeper"):
        build(described)
