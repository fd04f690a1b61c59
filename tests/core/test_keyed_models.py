"""One model per key is many plain loops, wherever the models are kept."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from river import drift, linear_model, preprocessing

from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.sampled_digest import is_sampled
from stream_app.events import Label, Observation
from stream_app.learning.tasks import Binary
from tests.core.history import History, values

MODEL = preprocessing.StandardScaler() | linear_model.LogisticRegression()


def pipeline(digest_every: int = 1000) -> Pipeline:
    return Pipeline(
        "p",
        task=Binary(),
        labels=Labels(wait=timedelta(seconds=10)),
        metrics={},
        model_per="key",
        versions={"v1": Version(MODEL)},
        digest_every=digest_every,
    )


def events(n: int, keys: int) -> list[Any]:
    rows: list[Any] = []
    for i in range(n):
        key = f"key{(i * 7 + i // 5) % keys}"
        rows.append(Observation(f"o{i}", i, {"a": float(i % 11), "b": -i / 3}, key))
        if i >= 9:
            j = i - 9
            rows.append(Label(f"o{j}", i, j % 3 == 0, f"key{(j * 7 + j // 5) % keys}"))
    return rows


def plain_loops(rows: list[Any]) -> list[tuple[float, int]]:
    """Return (probability, learned) of every observation, from a dict of models."""
    models: dict[str | None, Any] = {}
    learned: dict[str | None, int] = {}
    asked: dict[str, Observation] = {}
    said = []
    for event in rows:
        model = models.setdefault(event.key, copy.deepcopy(MODEL))
        if isinstance(event, Observation):
            asked[event.id] = event
            probability = model.predict_proba_one(dict(sorted(event.features.items())))[True]
            said.append((probability, learned.get(event.key, 0)))
        else:
            features = asked[event.id].features
            model.learn_one(dict(sorted(features.items())), event.label)
            learned[event.key] = learned.get(event.key, 0) + 1
    return said


def test_models_by_key_equal_plain_loops_with_two_live_models_and_restarts() -> None:
    rows = events(160, 9)
    history = History(pipeline())
    history.add(*rows)
    steps: list[Any] = [30, "save", 17, "crash", 1, 1, 40, "save", "crash", 5, "save", 60, "crash"]
    outcome = history.fold(steps, memory=Memory(live_max=2, rest_bytes_max=0, changes_max=5))
    said = [(row["probability"], row["learned"]) for row in values(outcome, "predictions")]
    assert said == plain_loops(rows)
    assert outcome == history.fold()


def test_a_reset_also_reaches_models_that_the_last_checkpoint_put_to_rest() -> None:
    monitor = DriftMonitor("feature:a", drift.PageHinkley(min_instances=2), action="reset")
    history = History(
        Pipeline(
            "p",
            task=Binary(),
            metrics={},
            model_per="key",
            versions={"v1": Version(MODEL)},
            drift=[monitor],
        )
    )
    history.add(*(Observation(f"o{i}", i, {"a": 0.0}, f"k{i % 2}", True) for i in range(20)))
    history.add(Observation("drift", 20, {"a": 1e6}, "k0", True))
    history.add(Observation("after", 21, {"a": 0.0}, "k1", True))
    saved_before_it = history.fold([20, "save", 1, 1])
    assert values(saved_before_it, "predictions")[-1]["learned"] == 0
    assert saved_before_it == history.fold()


def test_the_label_trains_its_observations_model_whatever_key_it_says() -> None:
    history = History(pipeline())
    history.add(Observation("x", 1, {"a": 1.0}, "k1"), Label("x", 2, True, "k2"))
    history.add(Observation("y", 3, {"a": 1.0}, "k1"), Observation("z", 3, {"a": 1.0}, "k2"))
    said = values(history.fold(), "predictions")
    assert [row["learned"] for row in said] == [0, 1, 0]


def test_a_digest_covers_what_predictions_changed_also_when_silence_lay_between() -> None:
    # A prediction with a new feature changes a scaler. Live took a digest before it; who learned
    # the stretch again in silence took none there, and both must agree afterwards.
    key = next(f"k{i}" for i in range(1000) if is_sampled(f"k{i}"))
    history = History(pipeline(digest_every=3))
    history.add(Observation("x", 1, {"a": 1.0}, key, True))
    history.add(*(Observation(f"f{i}", 1, {"a": 1.0}, "other") for i in range(2)))
    history.add(Observation("y", 2, {"new": 1.0}, key))
    history.add(*(Observation(f"g{i}", 2, {"a": 1.0}, "other") for i in range(2)))
    assert len(values(history.fold(), "evaluations")) == 4
    # Saved after one, crashed after four: the first digest falls into the silence.
    assert history.fold() == history.fold([1, "save", 3, "crash"])
