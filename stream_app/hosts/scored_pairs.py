"""Pairs of predictions as they are scored: counts, figures, and the largest differences."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, NamedTuple

from stream_app.core.joins import Observed
from stream_app.events import LabelValue
from stream_app.hosts.comparison import Counted, Disagreement
from stream_app.hosts.slicing import Slicing
from stream_app.learning.paired import Paired, PairedScores
from stream_app.learning.read_back import ReadBack
from stream_app.learning.tasks import Binary, Task
from stream_app.learning.tasks.task import Said
from stream_app.outputs import Prediction
from stream_app.records import format_position

DISAGREEMENTS_MAX = 10


class Waiting(NamedTuple):
    """An event that both versions predicted, until its label comes; no more than is needed."""

    offset: int
    observation_id: str
    key: str
    ts_ms: int
    slice: int
    a: Said
    b: Said
    prediction_a: Any
    prediction_b: Any


class ScoredPairs:
    """Everything that is kept of a comparison while it runs."""

    def __init__(
        self,
        task: Task,
        metrics: Mapping[str, Any],
        slicing: Slicing | None,
        topic: str,
        partitions: int,
    ) -> None:
        self.read_back = ReadBack(task)
        classes: tuple[LabelValue, ...] = (False, True) if isinstance(task, Binary) else ()
        self.scores = PairedScores(metrics, classes=classes, partitions=partitions)
        self.slicing = slicing
        self.counted = Counted()
        self._topic = topic
        self._partition = 0
        self._worst: list[tuple[float, int, Disagreement]] = []

    def begin_partition(self, partition: int) -> ScoredPairs:
        """Go on with another partition."""
        self._partition = partition
        self.scores.begin_partition()
        return self

    def waiting(self, event: Observed, a: Prediction, b: Prediction) -> Waiting:
        """Return what is kept of an event until its label comes."""
        return Waiting(
            event.offset,
            event.observation_id,
            event.key,
            event.ts_ms,
            -1 if self.slicing is None else self.slicing.number(event),
            self._said(a),
            self._said(b),
            a.prediction,
            b.prediction,
        )

    def _said(self, row: Prediction) -> Said:
        probability = row.probability if isinstance(row.probability, float) else None
        by_class = row.probabilities if isinstance(row.probabilities, dict) else None
        return self.read_back.said(row.prediction, probability, by_class)

    def score(self, found: Waiting, label: LabelValue, now_ms: int) -> None:
        """Score both versions on an event whose label is known; a null one scores neither."""
        counted, a, b = self.counted, found.a, found.b
        if a is None or b is None:
            counted.unscored_a += a is None
            counted.unscored_b += b is None
            return
        counted.compared += 1
        self.scores.add(Paired(label, a, b, now_ms, found.slice))
        loss_a, loss_b = self.read_back.loss(label, a), self.read_back.loss(label, b)
        apart, worst = abs(loss_a - loss_b), self._worst
        if apart and (len(worst) < DISAGREEMENTS_MAX or apart > worst[0][0]):
            row = self._disagreement(found, label, loss_a, loss_b)
            heapq.heappush(worst, (apart, -counted.compared, row))
            if len(worst) > DISAGREEMENTS_MAX:
                heapq.heappop(worst)

    def _disagreement(
        self, found: Waiting, label: LabelValue, loss_a: float, loss_b: float
    ) -> Disagreement:
        return Disagreement(
            position=format_position(self._topic, self._partition, found.offset),
            observation_id=found.observation_id,
            key=found.key,
            ts_ms=found.ts_ms,
            label=self.read_back.label(label),
            prediction_a=found.prediction_a,
            prediction_b=found.prediction_b,
            probability_a=self.read_back.probability(found.a, found.prediction_a),
            probability_b=self.read_back.probability(found.b, found.prediction_b),
            loss_a=loss_a,
            loss_b=loss_b,
        )

    def disagreements(self) -> list[Disagreement]:
        """Return the events with the largest differences of loss, the largest first."""
        return [row for _, _, row in sorted(self._worst, key=lambda one: (-one[0], -one[1]))]
