"""What every row does with an event: the same model, metric and examples, and River alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from river import linear_model, metrics, preprocessing

FEATURES = 10
Example = tuple[dict[str, Any], bool]


def model() -> Any:
    """Return the model of all rows."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def metric() -> metrics.base.Metric:
    """Return the metric of all rows."""
    return metrics.LogLoss()


def endless() -> Iterator[Example]:
    """Yield synthetic examples for ever: a noisy linear rule over normal features."""
    rng = random.Random(7)
    weights = [rng.gauss(0, 1) for _ in range(FEATURES)]
    while True:
        values = [rng.gauss(0, 1) for _ in range(FEATURES)]
        score = sum(w * v for w, v in zip(weights, values, strict=True)) + rng.gauss(0, 1)
        yield {f"f{i}": v for i, v in enumerate(values)}, score > 0


def examples(count: int) -> list[Example]:
    """Return the first of them."""
    return list(islice(endless(), count))


class Learner:
    """What one learns with River in any stream processor: predict, score, learn."""

    def __init__(self) -> None:
        self.model = model()
        self.metric = metric()

    def answer(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the prediction of an event that carries its label, having learned it."""
        features, label = event["features"], event["label"]
        said = self.model.predict_proba_one(features)
        self.metric.update(label, said)
        self.model.learn_one(features, label)
        return {"observation_id": event["id"], "probability": said[True]}
