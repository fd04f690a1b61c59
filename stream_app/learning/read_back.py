"""What a version said, read back from its published prediction, as metrics want it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stream_app.events import LabelValue
from stream_app.learning.tasks import Binary, Task
from stream_app.learning.tasks.task import Said

TINY = 1e-15


class ReadBack:
    """Reads published predictions of one task back.

    Of two classes only the positive one's probability is published; the other one is taken as the
    rest. What was most probable stays most probable.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._binary = isinstance(task, Binary)
        words = (task.negative, task.positive) if isinstance(task, Binary) else (None, None)
        self._words: dict[object, bool] = {False: False, True: True}
        if words[1] is not None:
            self._words = {words[0]: False, words[1]: True}

    def said(
        self, prediction: Any, probability: float | None, by_class: Mapping[str, float] | None
    ) -> Said:
        """Return what the model said; None for a null prediction."""
        if prediction is None:
            return None
        if self._binary:
            return self._of_two(prediction, probability)
        if by_class is not None:
            first = {prediction: by_class[prediction]} if prediction in by_class else {}
            return {**first, **by_class}
        answer: Said = prediction
        return answer

    def _of_two(self, prediction: Any, probability: float | None) -> Said:
        positive = self._words[prediction]
        if probability is None:
            return positive
        if positive:
            return {True: probability, False: min(1.0 - probability, probability)}
        return {False: max(1.0 - probability, probability), True: probability}

    def label(self, label: LabelValue) -> LabelValue:
        """Return a label as outputs write it."""
        if not self._binary:
            return label
        return next(word for word, value in self._words.items() if value is label)  # type: ignore[return-value]

    def probability(self, said: Said, prediction: object) -> float | None:
        """Return the probability as outputs show it: the positive class's, or of what was said."""
        if not isinstance(said, dict):
            return None
        by_class: Mapping[Any, float] = said
        return by_class.get(True if self._binary else prediction)

    @property
    def loss_name(self) -> str:
        """What `loss` is, where there are probabilities."""
        return "log loss" if self._task.metric_family == "classification" else "absolute error"

    def loss(self, label: LabelValue, said: Said) -> float:
        """Return how wrong an answer was: log loss of probabilities, else the task's error."""
        if isinstance(said, dict):
            by_class: Mapping[Any, float] = said
            return -math.log(min(max(by_class.get(label, 0.0), TINY), 1.0))
        return self._task.error(label, said)
