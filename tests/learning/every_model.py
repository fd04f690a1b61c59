"""Runs one estimator of River through the real host, disturbed in every way, beside a plain loop.

The plain loop is River alone: predict, then learn. The host evicts (two keys, one model in
memory), is killed and restored at random positions, and has calls that fail half-way undone.
"""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from river import base, compose, imblearn, linear_model, metrics, model_selection, preprocessing

from stream_app.codec.limits import Limits
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Pipeline, Version
from stream_app.errors import DeclarationError
from stream_app.events import Label, Observation
from stream_app.learning.definition import Prepared, prepare
from stream_app.learning.digests import structural_digest
from stream_app.learning.tasks import Binary, Multiclass, Regression
from stream_app.learning.tasks.task import Task
from tests.core.history import History, Outcome, Step, values
from tests.learning.catalogue import variants
from tests.learning.estimators import estimators
from tests.learning.half_way import HalfWayClassifier, HalfWayRegressor

EVENTS = 45
# These cost milliseconds for each call: fewer calls tell as much.
SLOW_EVENTS = 12
SLOW = ("BOLE", "LeveragingBagging", "SRP", "HOFM", "Stacking", "AMF", "ARF", "DriftRetraining")
KEYS = ("k116", "k148")  # a state digest covers one key in 64; these two are among them
FAILURES_MAX = 1000
TASKS: dict[str, Task] = {
    "binary": Binary(),
    "multiclass": Multiclass(),
    "regression": Regression(),
}


NUMBERS: dict[str, Any] = dict.fromkeys(("a", "b", "c", "n"), float)
# Calls of these raise on plain numbers, which is River's own doing; a failed call is undone.
REMARKS = {
    "river.feature_extraction.vectorize:BagOfWords": "wants text, raises on numbers",
    "river.feature_extraction.vectorize:TFIDF": "wants text, raises on numbers",
    "river.model_selection.sh:SuccessiveHalvingClassifier": "with words as labels it fits only "
    "models that know them: a linear one raises",
    "river.preprocessing.gap_encoder:GapEncoder": "wants text, raises on numbers",
    "river.preprocessing.scale:MinMaxScaler": "while a feature has had one value only, models "
    "say NaN: such predictions are null",
}
RAISE = {
    "river.forest.adaptive_random_forest:BaseTreeClassifier",  # parts of a forest, not for use
    "river.forest.adaptive_random_forest:BaseTreeRegressor",
    "variant last(nb)",
    "variant leveraging(half)",
    "variant leveraging(me)",
    "variant minmax(window)|linear",
    "variant minmax|linear",
    *REMARKS,
}
Named = tuple[str, Any]


def predictors() -> Iterator[Named]:
    """Every estimator that fits a task, River's examples first, then trees that grow quickly."""
    for name, model in (*examples_of_river(), *wrappers(), *catalogue_variants()):
        if tasks_of(model):
            yield name, model


def examples_of_river() -> Iterator[Named]:
    """Every estimator with River's own test parameters, without its pipeline of no steps."""
    for name, model in estimators():
        if type(model) is not compose.Pipeline or model.steps:
            yield name, model


def wrappers() -> Iterator[Named]:
    """Estimators around others, which River has no example of."""
    linear, logistic = linear_model.LinearRegression, linear_model.LogisticRegression
    halves: Any = {True: 0.5, False: 0.5}
    sampler: Any
    for sampler in (imblearn.RandomUnderSampler, imblearn.RandomOverSampler):
        yield f"{_name(sampler)}#0", sampler(logistic(), desired_dist=halves, seed=1)
    sampler = imblearn.RandomSampler
    yield f"{_name(sampler)}#0", sampler(logistic(), desired_dist=halves, sampling_rate=0.8, seed=1)
    target: Any
    for target in (preprocessing.TargetStandardScaler, preprocessing.TargetMinMaxScaler):
        yield f"{_name(target)}#0", target(linear())
    halving: Any = model_selection.SuccessiveHalvingClassifier
    rivals = [logistic(l2=l2) for l2 in (0.0, 0.1, 0.2, 0.3)]
    yield f"{_name(halving)}#0", halving(rivals, metric=metrics.Accuracy(), budget=100)


def catalogue_variants() -> Iterator[Named]:
    """Those of the catalogue's variants that fit a task; many of them grow quickly."""
    for name, model in variants():
        if isinstance(model, base.Estimator):
            yield f"variant {name}", model


def steps() -> Iterator[Named]:
    """Every transformer, as a step before a linear model."""
    for name, model in examples_of_river():
        if isinstance(model, base.Transformer | base.SupervisedTransformer) and not tasks_of(model):
            yield name, model | linear_model.LogisticRegression()


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


class Different(AssertionError):
    """The host does not say or know what the plain loop does."""


def tasks_of(model: Any) -> list[str]:
    """Return the tasks whose predictor takes a model."""
    found = []
    for name, task in TASKS.items():
        try:
            task.predictor(model)
        except DeclarationError:
            continue
        if name != "multiclass" or model._multiclass:
            found.append(name)
    return found


@dataclass(frozen=True)
class Example:
    """An observation and its label; `late` labels come after the next observation."""

    name: str
    key: str
    x: dict[str, Any]
    y: Any
    late: bool
    fault: str | None = None

    def features(self) -> dict[str, Any]:
        return {**self.x, "zz_fault": self.fault} if self.fault else self.x


def examples(task: str, count: int, draw: random.Random, *, faults: bool) -> list[Example]:
    """Return made-up examples with a drift in their middle."""
    rows = []
    for i in range(count):
        x = {name: draw.random() for name in ("a", "b", "c", "n")}
        score = x["a"] + 2 * x["b"] * x["c"] + draw.gauss(0, 0.2) + (1.0 if i > count / 2 else 0.0)
        y: Any = score
        if task == "binary":
            y = score > 1
        elif task == "multiclass":
            y = "lmn"[min(2, max(0, int(score)))]
        fault = draw.choice(["predict", "learn"]) if faults and draw.random() < 0.25 else None
        rows.append(Example(f"i{i}", draw.choice(KEYS), x, y, draw.random() < 0.3, fault))
    return rows


def in_order(rows: list[Example]) -> Iterator[tuple[str, Example]]:
    """Give each example as what happens: observed and labelled, or observed and then labelled."""
    held: Example | None = None
    for row in rows:
        yield ("observed" if row.late else "both"), row
        if held is not None:
            yield "labelled", held
        held = row if row.late else None
    if held is not None:
        yield "labelled", held


@dataclass
class Plain:
    """River alone, a model for each key; a call that raises is as if it had not been made."""

    prototype: Any
    task: Task
    models: dict[str, Any] = field(default_factory=dict)
    done: dict[str, list[tuple[str, Any, Any]]] = field(default_factory=dict)
    said: list[tuple[str, Any, Any]] = field(default_factory=list)
    raised: int = 0

    def run(self, rows: list[Example]) -> Plain:
        for what, row in in_order(rows):
            if what != "labelled":
                said = self._call(row, "predict", None)
                self.said.append((row.name, *(said or (None, None))))
            if what != "observed":
                self._call(row, "learn", self.task.label(row.y))
        return self

    def _call(self, row: Example, call: str, y: Any) -> Any:
        if row.fault == call:
            self.raised += 1
            return None
        model = self.models.setdefault(row.key, copy.deepcopy(self.prototype))
        done = self.done.setdefault(row.key, [])
        try:
            said = self._make(model, call, dict(row.x), y)
        except Exception:
            self.raised += 1
            again = copy.deepcopy(self.prototype)
            for before in done:
                self._make(again, *before)
            self.models[row.key] = again
            return None
        done.append((call, dict(row.x), y))
        return said

    def _make(self, model: Any, call: str, x: dict[str, Any], y: Any) -> Any:
        if call == "predict":
            # What is no answer (NaN, say) is a failed call, too.
            return self.task.take(self.task.predictor(model)(x))[1:]
        model.learn_one(x, y)
        return None


def declare(model: Any, task: str) -> Pipeline:
    """Return a pipeline of a model over plain numbers; raises `DeclarationError`."""
    return pipeline_of(model, task, NUMBERS)


def prepared_of(model: Any) -> Prepared:
    """Return what becomes of a model that is declared."""
    return prepare(model, seed=1)


def pipeline_of(model: Any, task: str, features: dict[str, Any]) -> Pipeline:
    """Return a pipeline with that one version and a model for each key."""
    return Pipeline(
        "every",
        task=TASKS[task],
        features=features,
        limits=Limits(failures_max=FAILURES_MAX),
        model_per="key",
        versions={"v1": Version(model)},
        metrics=metrics.MAE() if task == "regression" else metrics.Accuracy(),
        evaluate_every=10,
        digest_every=7,
    )


def prototype_of(pipeline: Pipeline) -> Any:
    """Return the model that the version begins with."""
    [plan] = pipeline.plans()
    return plan.pickles.loads(plan.prototype)


def history_of(pipeline: Pipeline, rows: list[Example]) -> History:
    history = History(pipeline)
    for at, (what, row) in enumerate(in_order(rows)):
        if what == "labelled":
            history.add(Label(row.name, at, row.y, row.key))
        else:
            label = row.y if what == "both" else None
            history.add(Observation(row.name, at, row.features(), row.key, label))
    return history


def disturbances(draw: random.Random, count: int) -> list[Step]:
    """Return batches with checkpoints and kills between them."""
    steps: list[Step] = []
    while count > 0:
        steps.append(size := draw.randint(1, 15))
        count -= size
        if draw.random() < 0.6:
            steps.append("save")
        if draw.random() < 0.5:
            steps.append("crash")
    return steps


def check(name: str, model: Any, task: str) -> int:
    """Raise `Different` unless host and plain loop agree; returns how many calls River refused."""
    draw = random.Random(zlib.crc32(f"{name} {task}".encode()))
    count = SLOW_EVENTS if any(slow in name for slow in SLOW) else EVENTS
    rows = examples(task, count, draw, faults=False)
    pipeline = declare(model, task)
    history = history_of(pipeline, rows)
    undisturbed = history.fold(keys=KEYS)
    steps = disturbances(draw, len(history.entries))
    disturbed = history.fold(steps, memory=Memory(live_max=1, rest_bytes_max=0), keys=KEYS)
    if disturbed != undisturbed:
        raise Different(f"{name} ({task}): a restored and evicted model differs: {steps}")
    plain = Plain(prototype_of(pipeline), TASKS[task]).run(rows)
    _require_same(f"{name} ({task})", undisturbed, plain, pipeline)
    _check_failing(name, model, task, draw, count)
    return plain.raised


def _check_failing(name: str, model: Any, task: str, draw: random.Random, count: int) -> None:
    kind = HalfWayRegressor if task == "regression" else HalfWayClassifier
    rows = examples(task, count, draw, faults=True)
    pipeline = pipeline_of(kind(model), task, {**NUMBERS, "zz_fault": str | None})
    history = history_of(pipeline, rows)
    steps = disturbances(draw, len(history.entries))
    outcome = history.fold(steps, memory=Memory(live_max=1, rest_bytes_max=0), keys=KEYS)
    plain = Plain(prototype_of(pipeline), TASKS[task]).run(rows)
    _require_same(f"{name} ({task}), failing", outcome, plain, pipeline)


def _require_same(what: str, outcome: Outcome, plain: Plain, pipeline: Pipeline) -> None:
    told = [
        (row["observation_id"], row["prediction"], row.get("probability", row.get("probabilities")))
        for row in values(outcome, "predictions")
    ]
    for one, other in zip(told, plain.said, strict=True):
        if repr(one) != repr(other):
            raise Different(f"{what}: {one}, River alone says {other}")
    failed = [row for row in values(outcome, "dead-letters") if row["kind"] == "model_failure"]
    if len(failed) != plain.raised:
        raise Different(f"{what}: {len(failed)} failed calls, River alone has {plain.raised}")
    for key, model in plain.models.items():
        if structural_digest(model, pipeline.known) != outcome.models["v1", key]:
            raise Different(f"{what}: the model of {key} knows something else than River's alone")
