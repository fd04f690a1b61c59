"""What every learning task says of itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from stream_app.events import LabelValue

TaskFields = dict[str, str]

# What a model said, as a metric wants it: a label, a number, or {class: probability}.
Said = bool | int | float | str | dict[bool | str, float] | None
Predictor = Callable[[dict[str, object]], Any]


class Task:
    """A kind of supervised learning; the next one is a new file beside this one.

    A task decides which labels are right, which call of a model predicts, how that is published,
    and what counts as the error that a drift monitor watches. What a model says may be anything
    (`Any`) until `plain` has looked at it.

    No ABC: compiled ones share one memory of what is an instance of what.
    """

    name: ClassVar[str]
    # Metrics of this family fit: River's classification or regression ones.
    metric_family: ClassVar[str]

    @abstractmethod
    def fields(self) -> TaskFields:
        """Return the task as plain data, for the manifest."""

    @abstractmethod
    def default_metrics(self) -> dict[str, Any]:
        """Return the metrics of a pipeline that declares none, by name."""

    @abstractmethod
    def label(self, value: LabelValue) -> LabelValue:
        """Return a label as a model learns it; raises `Refusal` for one that is none."""

    @abstractmethod
    def predictor(self, model: object) -> Predictor:
        """Return the one call of `model` that predicts; raises `DeclarationError` if it has none.

        The call returns None or {} while the model has nothing to say.
        """

    @abstractmethod
    def plain(self, said: Any) -> Said:
        """Return what a model said in Python's own types, as it is kept until its label comes.

        Raises `ValueError` or `TypeError` for what no model of this task may say.
        """

    def take(self, said: Any) -> tuple[Said, object, object]:
        """Return (what `plain` makes of a model's answer, and what `publish` makes of that)."""
        plain = self.plain(said)
        prediction, probability = self.publish(plain)
        return plain, prediction, probability

    @abstractmethod
    def publish(self, said: Said) -> tuple[object, object]:
        """Return (prediction, probability or probabilities or None) as an output shows them."""

    @abstractmethod
    def error(self, label: LabelValue, said: Said) -> float:
        """Return how wrong a prediction was, for drift monitors."""


def finite(value: Any) -> float:
    """Return a model's number; raises `ValueError` for NaN and infinities, which nobody can use."""
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("the model said an integer beyond all floats") from None
    if number - number != 0.0:
        raise ValueError(f"the model said {number}")
    return number
