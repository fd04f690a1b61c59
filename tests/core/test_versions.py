"""Versions: test, then train; side by side as if alone; nothing of a failed call remains."""

from __future__ import annotations

import copy
import random
from datetime import timedelta
from typing import Any

import pytest
from river import compose, dummy, forest, linear_model, naive_bayes, preprocessing, stats, tree

from stream_app.codec.limits import Limits
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.errors import VersionFailed
from stream_app.events import Label, Observation
from stream_app.learning.digests import structural_digest
from stream_app.learning.tasks import Binary, Multiclass, Regression, Task
from stream_app.outputs import Evaluation, ModelFailure, Prediction
from stream_app.testing import Driver
from tests.core.history import History, values
from tests.core.users_models import Counting, Greedy

WAIT = Labels(wait=timedelta(seconds=10))


def pipeline(versions: dict[str, Any], task: Task | None = None, **more: Any) -> Pipeline:
    declared = {
        name: made if isinstance(made, Version) else Version(made)
        for name, made in versions.items()
    }
    more = {"metrics": {}, "initial_champion": next(iter(declared)), **more}
    return Pipeline("p", task=task or Binary(), labels=WAIT, versions=declared, **more)


def delayed(n: int, seed: int = 1) -> list[Any]:
    """Return observations, and each one's label five observations later."""
    chance = random.Random(seed)
    events: list[Any] = []
    known = []
    for i in range(n):
        x: dict[str, Any] = {"a": chance.gauss(0, 1), "b": chance.gauss(1, 2)}
        if chance.random() < 0.3:
            x["c"] = chance.random()
        events.append(Observation(f"o{i}", i, x, f"key{i % 3}"))
        known.append(Label(f"o{i}", i, x["a"] + 0.3 * x["b"] > 0, f"key{i % 3}"))
        if i >= 5:
            events.append(known[i - 5])
    return events


# --- test, then train ---------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [True, False])
def test_an_example_is_scored_with_what_was_said_before_it_was_learned(inline: bool) -> None:
    # Who trains first says 0.5 about the first example and is right about both.
    with Driver(pipeline({"v1": Counting()}, metrics=None, evaluate_every=1)) as driver:
        said, figures = [], []
        for name in ("x", "y"):
            if inline:
                out = driver.send(Observation(name, 1, {}, label=True))
            else:
                out = driver.send(Observation(name, 1, {}), Label(name, 1, True))
            said += [o.probability for o in out if isinstance(o, Prediction)]
            figures += [o for o in out if isinstance(o, Evaluation)]
        assert said == [0.0, 0.5]
        assert [figure.metrics["LogLoss"].window for figure in figures] == pytest.approx(
            [34.538776394910684, 0.6931471805599453]
        )


def test_the_score_is_of_the_prediction_that_was_published_not_of_a_later_opinion() -> None:
    with Driver(pipeline({"v1": Counting()}, metrics=None, evaluate_every=3)) as driver:
        driver.send(Observation("first", 1, {}))
        driver.send(*(Observation(name, 2, {}, label=True) for name in "ab"))
        # By now the model would say 2/3 of it; it said 0 when asked.
        [figure] = driver.send(Label("first", 3, True))
        assert isinstance(figure, Evaluation)
        total = figure.metrics["LogLoss"].total
        assert total == pytest.approx((34.538776394910684 * 2 + 0.6931471805599453) / 3)


def test_learning_uses_the_features_that_were_used_at_prediction() -> None:
    model = linear_model.LogisticRegression()
    with Driver(pipeline({"v1": model})) as driver:
        driver.send(Observation("x", 1, {"a": 1.0}), Observation("y", 1, {"a": -3.0}))
        driver.checkpoint()
        driver.crash()
        driver.send(Label("x", 2, True))
        model.predict_proba_one({"a": 1.0})
        model.predict_proba_one({"a": -3.0})
        model.learn_one({"a": 1.0}, True)
        assert driver.model().weights == model.weights


def test_an_untrained_model_says_null_and_why() -> None:
    with Driver(pipeline({"v1": tree.HoeffdingTreeClassifier()}, metrics=None)) as driver:
        first, second = driver.send(
            Observation("x", 1, {"a": 1.0}, label=True), Observation("y", 1, {"a": 1.0}, label=True)
        )
        assert isinstance(first, Prediction)
        assert isinstance(second, Prediction)
        assert (first.prediction, first.null_reason, first.learned) == (None, "untrained", 0)
        assert (second.prediction, second.probability, second.learned) == (True, 1.0, 1)
        assert not second.null_reason


@pytest.mark.parametrize(
    ("task", "model", "labels", "expected"),
    [
        (Binary("late", "on time"), naive_bayes.GaussianNB(), ["late", "on time"], "on time"),
        (Multiclass(), naive_bayes.GaussianNB(), ["sky", "foliage"], "foliage"),
        (Regression(), dummy.StatisticRegressor(stats.Mean()), [1, 4], 2.5),
    ],
)
def test_predictions_are_published_in_the_words_of_the_task(
    task: Task, model: Any, labels: list[Any], expected: Any
) -> None:
    with Driver(pipeline({"v1": model}, task)) as driver:
        for i in range(10):
            sign = 1.0 if i % 2 else -1.0
            driver.send(Observation(f"o{i}", i, {"a": sign + i / 100}, label=labels[i % 2]))
        [said] = driver.send(Observation("x", 11, {"a": 1.0}))
        assert isinstance(said, Prediction)
        assert said.prediction == expected
        if isinstance(task, Multiclass):
            assert list(said.probabilities) == ["foliage", "sky"]  # type: ignore[arg-type]
        if isinstance(task, Binary):
            # The positive class's, whatever the prediction says.
            assert said.probability < 0.5  # type: ignore[operator]


# --- side by side -------------------------------------------------------------------------------


def test_versions_side_by_side_equal_each_alone() -> None:
    models: dict[str, Any] = {
        "linear": preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        "tree": tree.HoeffdingTreeClassifier(grace_period=10),
        "forest": forest.ARFClassifier(n_models=2),
    }
    events = delayed(60)
    whole = History(pipeline(models, seed=3))
    whole.add(*events)
    together = whole.fold([20, "save", 15, "crash"])
    for name, model in models.items():
        alone = History(pipeline({name: model}, seed=3))
        alone.add(*events)
        single = alone.fold()
        assert single.versions[name] == together.versions[name]
        topic = "predictions" if name == "linear" else f"shadow.{name}"
        assert values(single, "predictions") == values(together, topic)


def test_a_version_sees_the_features_it_selects_and_no_other() -> None:
    versions = {
        "all": linear_model.LogisticRegression(),
        "some": Version(linear_model.LogisticRegression(), features=["b", "missing"]),
    }
    for declared in (None, {"a": float, "b": float}):
        with Driver(pipeline(versions, features=declared)) as driver:
            driver.send(Observation("x", 1, {"b": 2.0, "a": 1.0, "z": 5.0}, label=True))
            some, all_ = driver.model("some"), driver.model("all")
            assert set(some.weights) == {"b"}
            # What is declared is what "all" means; without a declaration it is whatever there is.
            assert set(all_.weights) == ({"a", "b", "z"} if declared is None else {"a", "b"})


def test_a_model_that_renames_features_takes_nothing_from_the_others() -> None:
    renaming = compose.Renamer({"a": "other"}) | linear_model.LogisticRegression()
    plain = linear_model.LogisticRegression()
    events = delayed(30)
    both = History(pipeline({"renaming": renaming, "plain": plain}))
    alone = History(pipeline({"plain": plain}))
    for history in (both, alone):
        history.add(*events)
    together, single = both.fold([13, "save", 9, "crash"]), alone.fold()
    assert together.versions["plain"] == single.versions["plain"]
    mapped = copy.deepcopy(renaming)
    by_hand(mapped, events)
    with Driver(pipeline({"renaming": renaming})) as driver:
        driver.send(*events)
        assert driver.model()["LogisticRegression"].weights == (
            mapped["LogisticRegression"].weights
        )


def by_hand(model: Any, events: list[Any]) -> None:
    """Do with a model what a version does: predict each observation, learn each label."""
    seen: dict[str, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, Observation):
            seen[event.id] = dict(sorted(event.features.items()))
            model.predict_proba_one(dict(seen[event.id]))
        else:
            model.learn_one(dict(seen[event.id]), event.label)


@pytest.mark.parametrize(
    "model",
    [
        preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        tree.HoeffdingTreeClassifier(grace_period=10),
        naive_bayes.GaussianNB(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_version_equals_a_plain_loop_over_the_same_model(model: Any) -> None:
    events = delayed(80)
    with Driver(pipeline({"v1": model})) as driver:
        driver.send(*events[:70])
        driver.checkpoint()
        driver.send(*events[70:])
        driver.crash()
        mine = copy.deepcopy(model)
        by_hand(mine, events)
        # Not their digests: a tree's memory estimates are switched off in ours.
        asked = [event.features for event in events if isinstance(event, Observation)]
        ours = [driver.model().predict_proba_one(x) for x in asked]
        assert ours == [mine.predict_proba_one(x) for x in asked]


def test_a_model_that_somebody_holds_has_learned_all_that_was_sent() -> None:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    with Driver(pipeline({"v1": model})) as driver:
        driver.send(*delayed(40)[:30])
        held = driver.model()["StandardScaler"]
        for _ in range(3):
            before = dict(held.counts)
            driver.send(Observation(f"more {sum(before.values())}", 10**6, {"a": 1.0}, label=True))
            assert held.counts["a"] == before["a"] + 1


# --- models that raise --------------------------------------------------------------------------


def test_a_predict_that_raises_is_a_null_prediction_and_a_failure_and_leaves_no_trace() -> None:
    with Driver(pipeline({"v1": Counting()})) as driver:
        driver.send(Observation("x", 1, {}, label=True))
        failure, said = driver.send(Observation("y", 2, {"bad": "predict"}))
        assert isinstance(said, Prediction)
        assert isinstance(failure, ModelFailure)
        assert (said.prediction, said.null_reason, said.learned) == (None, "model_raised", 1)
        assert (failure.call, failure.observation_id) == ("predict", "y")
        assert failure.detail == "ZeroDivisionError: bad predict"
        assert driver.model().predicted == 1
        driver.send(Label("y", 3, True))
        assert driver.model().learned == 2


def test_a_learn_that_raises_is_undone_and_its_prediction_and_score_stand() -> None:
    with Driver(pipeline({"v1": Counting()}, metrics=None, evaluate_every=2)) as driver:
        driver.send(Observation("x", 1, {}, label=True))
        out = driver.send(Observation("y", 2, {"bad": "learn"}, label=True))
        [said] = [o for o in out if isinstance(o, Prediction)]
        [failure] = [o for o in out if isinstance(o, ModelFailure)]
        [figure] = [o for o in out if isinstance(o, Evaluation)]
        assert said.probability == 0.5
        assert (failure.call, failure.observation_id) == ("learn", "y")
        assert (figure.scored, figure.unscored) == (2, 0)
        assert driver.model().learned == 1


def test_a_prediction_that_nobody_can_use_is_a_failure_too() -> None:
    with Driver(pipeline({"v1": Counting()})) as driver:
        out = driver.send(Observation("x", 1, {"bad": "odd"}))
        assert {type(o) for o in out} == {Prediction, ModelFailure}
        assert driver.counters.dead_letters == 0


def test_a_null_prediction_that_waited_leaves_nothing_in_the_store() -> None:
    history = History(pipeline({"v1": Counting()}))
    history.add(Observation("x", 1, {"bad": "predict"}), Label("x", 2, True))
    outcome = history.fold([1, "save", "crash", 1, "save"])
    assert outcome.counters.labels_joined == 1
    assert not [key for key in outcome.rows["version.v1"] if key.startswith(b"w")]


def test_undoing_makes_the_calls_again_with_the_features_as_they_were_given() -> None:
    greedy = Greedy() | linear_model.LogisticRegression()
    events: list[Any] = [
        Observation(f"o{i}", i, {"a": float(i), "b": 1.0}, label=i % 2 == 0) for i in range(20)
    ]
    known = pipeline({"v1": greedy}).known
    with Driver(pipeline({"v1": greedy})) as driver, Driver(pipeline({"v1": greedy})) as calm:
        driver.send(*events)
        out = driver.send(Observation("bad", 20, {"a": 1.0, "b": 1.0, "bad": True}))
        assert {type(o) for o in out} == {Prediction, ModelFailure}
        calm.send(*events)
        mine, calms = driver.model(), calm.model()
        assert structural_digest(mine, known) == structural_digest(calms, known)


def failing(**limits: int) -> Pipeline:
    return pipeline({"good": dummy.PriorClassifier(), "bad": Counting()}, limits=Limits(**limits))


@pytest.mark.parametrize("call", ["predict", "learn"])
def test_a_shadow_that_keeps_raising_fails_alone(call: str) -> None:
    with Driver(failing(failures_max=3)) as driver:
        for i in range(5):
            driver.send(Observation(f"o{i}", i, {"bad": call}, label=True))
        failures = [o for o in driver.outputs("shadow.bad") if isinstance(o, ModelFailure)]
        assert len(failures) == 3
        said = [o for o in driver.outputs("shadow.bad") if isinstance(o, Prediction)]
        assert [o.null_reason for o in said[3:]] == ["failed", "failed"]
        good = [o for o in driver.outputs("predictions") if isinstance(o, Prediction)]
        assert [o.learned for o in good] == [0, 1, 2, 3, 4]
        driver.checkpoint()
        driver.crash()
        [_, after] = driver.send(Observation("later", 9, {}))
        assert isinstance(after, Prediction)
        assert after.null_reason == "failed"


def test_a_good_call_between_bad_ones_starts_the_count_anew() -> None:
    with Driver(failing(failures_max=2)) as driver:
        for i in range(8):
            bad: dict[str, Any] = {"bad": "learn"} if i % 2 else {}
            driver.send(Observation(f"o{i}", i, bad, label=True))
        said = [o for o in driver.outputs("shadow.bad") if isinstance(o, Prediction)]
        assert not any(o.null_reason == "failed" for o in said)


def test_a_champion_that_keeps_raising_stops_before_the_record_that_failed_it() -> None:
    history = History(pipeline({"v1": Counting()}, limits=Limits(failures_max=2)))
    for i in range(5):
        bad: dict[str, Any] = {"bad": "learn"} if i >= 2 else {}
        history.add(Observation(f"o{i}", i, bad, label=True))
    with pytest.raises(VersionFailed, match=r"p\.events/0@3.* dead-letters p --version v1 "):
        history.fold()
    with Driver(history.pipeline) as driver:
        driver.send(*(Observation(f"o{i}", i, {}, label=True) for i in range(2)))
        driver.send(Observation("o2", 2, {"bad": "learn"}, label=True))
        with pytest.raises(VersionFailed):
            driver.send(Observation("o3", 3, {"bad": "learn"}, label=True))
        assert len(driver.outputs("predictions")) == 3
        driver.crash()
        with pytest.raises(VersionFailed):
            driver.send(Observation("o4", 4, {}, label=True))
        assert len(driver.outputs("predictions")) == 3
