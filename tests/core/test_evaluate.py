"""A notebook's figure is the figure that live shows: digit for digit River's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import (
    datasets,
    ensemble,
    evaluate,
    forest,
    imblearn,
    linear_model,
    metrics,
    naive_bayes,
    neighbors,
    preprocessing,
    tree,
)

from stream_app.codec.encode import encode_event
from stream_app.core.evaluate import as_events
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.errors import UsageError
from stream_app.events import Label
from stream_app.hosts.embedded import open_hosts, run_hosts
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning.tasks import Binary, Multiclass, Regression, Task
from stream_app.outputs import AnyOutput, Evaluation
from stream_app.storage.sqlite_log import SqliteLog

N = 200
BEGIN = datetime(2013, 1, 1, tzinfo=UTC)

MODELS: dict[str, dict[str, Callable[[], Any]]] = {
    "binary": {
        "linear": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=30),
        "bayes": naive_bayes.GaussianNB,
        "forest": lambda: forest.ARFClassifier(n_models=3, seed=1),
    },
    "multiclass": {
        "bayes": naive_bayes.GaussianNB,
        "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=30),
        "knn": lambda: (
            preprocessing.StandardScaler()
            | neighbors.KNNClassifier(n_neighbors=3, engine=neighbors.LazySearch(window_size=50))
        ),
    },
    "regression": {
        "linear": lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
        "tree": lambda: tree.HoeffdingTreeRegressor(grace_period=20),
    },
}
METRICS: dict[str, Callable[[], Any]] = {
    "binary": lambda: (
        metrics.ROCAUC(n_thresholds=100) + metrics.LogLoss() + metrics.Accuracy() + metrics.F1()
    ),
    "multiclass": lambda: metrics.Accuracy() + metrics.MacroF1() + metrics.CrossEntropy(),
    "regression": lambda: metrics.MAE() + metrics.RMSE() + metrics.R2(),
}
TASKS: dict[str, Task] = {
    "binary": Binary(),
    "multiclass": Multiclass(),
    "regression": Regression(),
}
CLOCKS: dict[str, tuple[Any, Any]] = {
    # what River is told: (moment, delay)
    "at once": (None, None),
    "later": (None, 20),
    "by a clock": ("at", timedelta(hours=3)),
    "by a function": (lambda x: BEGIN + timedelta(hours=x["n"]), timedelta(hours=7)),
    "each in its time": ("at", lambda _x, y: timedelta(minutes=30 + len(str(y)) * 41)),
}


def rows(task: str) -> Iterator[tuple[dict[Any, Any], Any]]:
    """Return a real data set in canonical feature order, with a running number."""
    real: Any = {
        "binary": datasets.Phishing(),
        "multiclass": datasets.ImageSegments(),
        "regression": datasets.ChickWeights(),
    }[task]
    for n, (x, y) in enumerate(real):
        if n == N:
            return
        yield dict(sorted({**x, "n": n}.items())), y


def timed(task: str, moment: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Return the rows with a time among the features, when the clock asks for one."""
    for x, y in rows(task):
        if moment == "at":
            x = {**x, "at": BEGIN + timedelta(minutes=20 * x["n"] + x["n"] % 7)}  # noqa: PLW2901
        yield x, y


@cache
def pipeline(task: str, *names: str, evaluate_every: int = 7) -> Pipeline:
    return Pipeline(
        "p",
        task=TASKS[task],
        labels=Labels(wait=timedelta(days=30)),
        metrics=METRICS[task](),
        versions={name: Version(MODELS[task][name]()) for name in names},
        initial_champion=names[0],
        seed=1,
        evaluate_every=evaluate_every,
    )


def rivers_own(task: str, name: str, clock: str) -> Any:
    """Return River's own figure; its model must not see the moment, so it is discarded first."""
    moment, delay = CLOCKS[clock]
    if moment == "at":
        # The same instants through a function, because a string stays among River's features.
        moment = lambda x: BEGIN + timedelta(minutes=20 * x["n"] + x["n"] % 7)  # noqa: E731
    return evaluate.progressive_val_score(
        rows(task), MODELS[task][name](), METRICS[task](), moment=moment, delay=delay
    )


CASES = [
    (task, name, clock)
    for task, models in MODELS.items()
    for clock in CLOCKS
    for name in models
    # A forest is slow; how labels come is the same for it as for a tree.
    if name != "forest" or clock in ("at once", "later")
]


def assert_same(task: str, ours: Iterable[Any], rivers: Iterable[Any]) -> None:
    """Require the same figures; River's means over classes go through a set, in any order."""
    theirs = list(rivers)
    same = pytest.approx(theirs, rel=1e-12, abs=0) if task == "multiclass" else theirs
    assert list(ours) == same


@pytest.mark.parametrize(("task", "name", "clock"), CASES)
def test_evaluate_equals_rivers_own_figure(task: str, name: str, clock: str) -> None:
    moment, delay = CLOCKS[clock]
    ours = pipeline(task, name).evaluate(timed(task, moment), moment=moment, delay=delay)
    assert_same(task, ours.get(), rivers_own(task, name, clock).get())
    assert [type(part).__name__ for part in ours] == [
        type(part).__name__ for part in METRICS[task]()
    ]


def last_totals(outputs: Iterable[bytes], version: str, labels: int) -> list[float | None]:
    """Return the totals of the one evaluation, which covers every label."""
    decoded = [msgspec.json.decode(value, type=AnyOutput) for value in outputs]
    [last] = [o for o in decoded if isinstance(o, Evaluation)]
    assert (last.learned, last.version) == (labels, version)
    return [value.total for value in last.metrics.values()]


@pytest.mark.parametrize("task", list(TASKS))
def test_what_runs_on_the_log_of_a_disk_publishes_the_same_figures(
    task: str, tmp_path: Path
) -> None:
    moment, delay = CLOCKS["each in its time"]
    events = list(as_events(timed(task, moment), moment, delay))
    labels = sum(isinstance(event, Label) for event in events)
    names = list(MODELS[task])[:3]
    whole = pipeline(task, *names, evaluate_every=labels)
    log, state = SqliteLog.open(tmp_path / "log.db", create=True), StateDirectory(tmp_path)
    manifest = register(log, whole, state.public_keys)
    log.append("p.events", [encode_event(event) for event in events])
    hosts = open_hosts(log, whole, manifest, state, [0])
    run_hosts(log, whole, hosts, stopped=lambda: False, until={0: len(events)})
    for name in names:
        topic = "p.evaluations" if name == names[0] else f"p.shadow.{name}"
        outputs = [record.value for record in log.read(topic, 0, 0, records_max=10_000)]
        totals = last_totals(outputs, name, labels)
        assert_same(task, totals, rivers_own(task, name, "each in its time").get())
    for host in hosts:
        host.close()
    log.close()


def test_evaluate_says_what_a_dataset_and_a_delay_are() -> None:
    declared = pipeline("binary", "linear")
    pair = ({"a": 1.0}, True)
    for dataset in (None, 3, {"a": 1.0}, "pairs"):
        with pytest.raises(UsageError, match=r"yields no .* pairs"):
            declared.evaluate(dataset)  # type: ignore[arg-type]
    for example in ({"a": 1.0, "b": 2.0}, {"a": 1.0}, ({"a": 1.0},), ("a", "b"), 3):
        with pytest.raises(UsageError, match=r"example 1 of the dataset is .* no pair"):
            declared.evaluate([pair, example])
    for delay in (-1, lambda _x, _y: -1):
        with pytest.raises(UsageError, match="delay: -1 puts the label of example 0 before"):
            declared.evaluate([pair], delay=delay)


def test_evaluate_names_the_record_that_a_pipeline_refuses() -> None:
    declared = Pipeline(
        "p",
        task=Binary(),
        features={"a": float},
        versions={"v1": Version(naive_bayes.GaussianNB())},
    )
    with pytest.raises(UsageError, match=r"record 1 is refused \(wrong_type\): features\.a"):
        declared.evaluate([({"a": 1.0}, True), ({"a": "x"}, True)])
    with pytest.raises(UsageError, match=r"features\.aaa: expected .* did you mean features.aaa"):
        Pipeline(
            "p", task=Binary(), features={"aaa": float}, versions=dict(declared.versions)
        ).evaluate([({"aab": 1.0}, True)])
    with pytest.raises(UsageError, match="has no version 'v2', only v1"):
        declared.evaluate([], version="v2")
    row = ({"a": 1.0}, True)
    with pytest.raises(UsageError, match="delay: the dataset has no feature '1h'"):
        declared.evaluate([row], delay="1h")
    with pytest.raises(UsageError, match="moment: the dataset has no feature 'at'"):
        declared.evaluate([row], moment="at", delay=1)
    with pytest.raises(UsageError, match="timedelta needs moments"):
        declared.evaluate([row], delay=timedelta(1))


def test_a_sampler_says_what_the_classifier_inside_it_says() -> None:
    # River overrides predict_one here; the label that counts is still the most probable one.
    model = imblearn.RandomUnderSampler(
        linear_model.LogisticRegression(), {False: 0.4, True: 0.6}, seed=1
    )
    declared = Pipeline(
        "p", task=Binary(), metrics=metrics.Accuracy(), versions={"v1": Version(model)}
    )
    ours = declared.evaluate(rows("binary"))
    theirs = evaluate.progressive_val_score(rows("binary"), model.clone(), metrics.Accuracy())
    assert ours.get() == theirs.get()


def test_a_vote_without_probabilities_is_scored_by_its_label() -> None:
    def vote() -> Any:
        return ensemble.VotingClassifier(
            [linear_model.LogisticRegression(), naive_bayes.GaussianNB()]
        )

    declared = Pipeline(
        "p", task=Binary(), metrics=metrics.Accuracy(), versions={"v1": Version(vote())}
    )
    ours = declared.evaluate(rows("binary"))
    theirs = evaluate.progressive_val_score(rows("binary"), vote(), metrics.Accuracy())
    assert ours.get() == theirs.get()
