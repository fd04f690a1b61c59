from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from river import base, compose, linear_model, metrics, preprocessing

from stream_app import Binary, Multiclass, Pipeline, Regression, Version
from stream_app.errors import SurroundingsError, UsageError
from stream_app.learning.tasks import Task
from stream_app.outputs import Evaluation, ModelFailure, Prediction
from stream_app.testing import Driver, Label, Observation

# What a test has users' models say; not a parameter, which would have to be describable.
ANSWERS: dict[str, Any] = {
    "fraction": Fraction(1, 3),
    "decimal": Decimal("0.25"),
    "beyond 64 bits": 10**30,
    "beyond floats": 10**400,
    "numpy": np.float32(0.5),
    "fractions": {True: Fraction(1, 3), False: Fraction(2, 3)},
    "integers": {True: 10**400, False: 0},
    "numpy's": {np.bool_(True): np.float64(0.25), np.bool_(False): np.float64(0.75)},
    "words": {np.str_("x"): np.float64(0.75), np.str_("y"): 0.25},
    "tuples": {(1,): 1.0},
    "half a character": {"\ud800": 0.75, "y": 0.25},
    "negative": -5.0,
    "square beyond floats": 1e200,
}


class Number(base.Regressor):
    def __init__(self, answer: str) -> None:
        self.answer = answer

    def learn_one(self, x: Any, y: Any) -> None:
        pass

    def predict_one(self, x: Any) -> Any:
        return ANSWERS[self.answer]


class Shares(base.Classifier):
    def __init__(self, answer: str) -> None:
        self.answer = answer

    def learn_one(self, x: Any, y: Any) -> None:
        pass

    def predict_proba_one(self, x: Any, **kwargs: Any) -> Any:
        return ANSWERS[self.answer]


class Reused(base.Classifier):
    """Says the same dict every time, and writes into it as it learns."""

    def __init__(self) -> None:
        self.said = {True: 0.5, False: 0.5}

    def learn_one(self, x: Any, y: Any) -> None:
        self.said[True] *= 0.5
        self.said[False] = 1.0 - self.said[True]

    def predict_proba_one(self, x: Any, **kwargs: Any) -> Any:
        return self.said


class Quitting(base.Regressor):
    """Asks for the process to end, as code of users at times does."""

    def __init__(self, when: str) -> None:
        self.when = when

    def learn_one(self, x: Any, y: Any) -> None:
        if self.when == "learn":
            raise SystemExit(0)

    def predict_one(self, x: Any) -> Any:
        if self.when == "predict":
            raise SystemExit(0)
        return 1.0


def share(x: dict[str, Any]) -> dict[str, Any]:
    return {"share": x["a"] / x["of"] if x["of"] else float("nan")}


class Unspeakable(Exception):
    """Cannot say what it is about."""

    def __str__(self) -> str:
        raise ValueError("no words")


ERRORS: dict[str, Exception] = {
    "half a character": ValueError("\ud800"),
    "no words": Unspeakable(),
}
OUTSIDE: dict[str, bool] = {"up": True}


class Dependent(base.Regressor):
    """Asks something outside for every call."""

    def __init__(self) -> None:
        self.learned = 0

    def learn_one(self, x: Any, y: Any) -> None:
        if not OUTSIDE["up"]:
            raise ValueError("it is down")
        self.learned += 1

    def predict_one(self, x: Any) -> Any:
        if not OUTSIDE["up"]:
            raise ValueError("it is down")
        return float(self.learned)


class Raising(base.Regressor):
    def __init__(self, error: str) -> None:
        self.error = error

    def learn_one(self, x: Any, y: Any) -> None:
        raise ERRORS[self.error]

    def predict_one(self, x: Any) -> Any:
        return 1.0


CASES: list[tuple[Task, Any, Any]] = [
    (Regression(), Number("fraction"), 1 / 3),
    (Regression(), Number("decimal"), 0.25),
    (Regression(), Number("beyond 64 bits"), 1e30),
    (Regression(), Number("beyond floats"), None),
    (Regression(), Number("numpy"), 0.5),
    (Binary(), Shares("fractions"), False),
    (Binary(), Shares("integers"), None),
    (Binary(), Shares("numpy's"), False),
    (Multiclass(), Shares("words"), "x"),
    (Multiclass(), Shares("tuples"), None),
    (Multiclass(), Shares("half a character"), None),
]


@pytest.mark.parametrize(("task", "model", "published"), CASES)
def test_an_odd_answer_is_published_scored_and_saved_or_is_a_failure(
    task: Task, model: Any, published: Any
) -> None:
    # An answer that is only met in a checkpoint, or in a metric, would end every start at once.
    label: Any = {"binary": True, "multiclass": "x", "regression": 1.0}[task.name]
    pipeline = Pipeline("odd", task=task, versions={"v1": Version(model)}, evaluate_every=1)
    with Driver(pipeline) as driver:
        *failures, said = driver.send(Observation("a", 0, {"f": 1.0}))
        assert isinstance(said, Prediction)
        assert said.prediction == published
        assert [type(row) for row in failures] == ([ModelFailure] if published is None else [])
        driver.checkpoint()
        driver.crash()
        [scored] = driver.send(Label("a", 1, label))
        assert isinstance(scored, Evaluation)
        assert scored.scored == (published is not None)


@pytest.mark.parametrize("crashes", [False, True])
def test_what_was_published_is_scored_though_the_model_wrote_into_it_since(crashes: bool) -> None:
    pipeline = Pipeline("odd", task=Binary(), versions={"v1": Version(Reused())}, evaluate_every=2)
    with Driver(pipeline) as driver:
        driver.send(Observation("a", 0, {"f": 1.0}), Observation("b", 1, {"f": 1.0}))
        if crashes:
            driver.checkpoint()
            driver.crash()
        [scored] = driver.send(Label("a", 2, True), Label("b", 3, True))
    assert isinstance(scored, Evaluation)
    # Both were published as 0.5; ln 2 each.
    assert scored.metrics["LogLoss"].total == pytest.approx(0.6931471805599453)


@pytest.mark.parametrize("answer", ["negative", "square beyond floats"])
def test_a_metric_that_cannot_score_an_answer_is_null_and_stops_nobody(answer: str) -> None:
    both = metrics.RMSLE() + metrics.RMSE() + metrics.MAE()
    model = Version(Number(answer))
    pipeline = Pipeline(
        "odd", task=Regression(), versions={"v1": model}, metrics=both, evaluate_every=1
    )
    lost = "RMSLE" if answer == "negative" else "RMSE"
    with Driver(pipeline) as driver:
        for name in ("a", "b"):  # before and after a restart
            driver.send(Observation(name, 0, {"f": 1.0}))
            [scored] = driver.send(Label(name, 1, 1.0))
            assert isinstance(scored, Evaluation)
            assert scored.metrics[lost].total is scored.metrics[lost].window is None
            assert scored.metrics["MAE"].total is not None
            driver.checkpoint()
            driver.crash()
    with pytest.raises(UsageError, match=lost):
        pipeline.evaluate([({"f": 1.0}, 1.0)])


@pytest.mark.parametrize("when", ["predict", "learn"])
def test_a_model_that_asks_for_the_end_has_raised(when: str) -> None:
    # Taken at its word, `run` would end with 0 as if all were done, at every start.
    pipeline = Pipeline("odd", task=Regression(), versions={"v1": Version(Quitting(when))})
    with Driver(pipeline) as driver:
        outputs = driver.send(Observation("a", 0, {"f": 1.0}), Label("a", 1, 1.0))
    [failure] = [row for row in outputs if isinstance(row, ModelFailure)]
    assert (failure.call, "SystemExit" in failure.detail) == (when, True)


def test_a_model_whose_compiled_parts_panic_has_failed_like_any_other() -> None:
    """River's quantiles end in a panic, which is no `Exception`, when they have to sort a NaN."""
    scaled = compose.FuncTransformer(share) | preprocessing.RobustScaler()
    model = scaled | linear_model.LinearRegression()
    pipeline = Pipeline("odd", task=Regression(), versions={"v1": Version(model)})
    with Driver(pipeline) as driver:
        for n in range(6):
            x: dict[str, Any] = {"a": float(n), "of": float(n != 2)}
            outputs = driver.send(Observation(f"o{n}", n, x, label=1.0))
            failed = [row.detail for row in outputs if isinstance(row, ModelFailure)]
            assert any("PanicException" in detail for detail in failed) == (n == 2)


@pytest.mark.parametrize("error", list(ERRORS))
def test_an_error_that_cannot_be_written_down_is_a_failure_like_any_other(error: str) -> None:
    pipeline = Pipeline("odd", task=Regression(), versions={"v1": Version(Raising(error))})
    with Driver(pipeline) as driver:
        driver.send(Observation("a", 0, {"f": 1.0}))
        [failure] = driver.send(Label("a", 1, 1.0))
    assert isinstance(failure, ModelFailure)
    assert failure.detail.startswith(type(ERRORS[error]).__name__)


@pytest.mark.parametrize("event", [Observation("b", 2, {"f": 1.0}), Label("b", 2, 1.0)])
def test_a_model_that_cannot_be_undone_ends_the_process_and_forgets_nothing(
    event: Observation | Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline("odd", task=Regression(), versions={"v1": Version(Dependent())})
    with Driver(pipeline) as driver:
        driver.send(Observation("a", 0, {"f": 1.0}), Label("a", 1, 1.0))
        if isinstance(event, Label):
            driver.send(Observation("b", 2, {"f": 1.0}))
        before = driver.outputs()
        with monkeypatch.context() as outside:
            outside.setitem(OUTSIDE, "up", False)
            with pytest.raises(SurroundingsError, match="it is down"):
                driver.send(event)
        assert driver.outputs() == before
        driver.crash()
        [said] = driver.send(Observation("c", 3, {"f": 1.0}))[-1:]
        assert isinstance(said, Prediction)
        assert said.prediction == (2.0 if isinstance(event, Label) else 1.0)
