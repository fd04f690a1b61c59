"""Binary classification: yes or no, or two declared words."""

from __future__ import annotations

from typing import Any

from river import metrics

from stream_app.errors import DeclarationError
from stream_app.events import LabelValue, Refusal
from stream_app.learning.tasks.classification import Classification, most_probable
from stream_app.learning.tasks.task import Said, TaskFields, finite


class Binary(Classification):
    """Labels are booleans or 0/1; with `positive` and `negative` they are these two words.

    Models learn booleans. `probability` is the positive class's.
    """

    name = "binary"

    def __init__(self, positive: str | None = None, negative: str | None = None) -> None:
        if (positive is None) != (negative is None) or (
            positive is not None and positive == negative
        ):
            raise DeclarationError(
                "task: Binary takes two different words, or none",
                attempt='Binary(positive="late", negative="on time"), or Binary()',
            )
        self.positive = positive
        self.negative = negative
        self._words = (False, True) if positive is None else (negative, positive)

    def fields(self) -> TaskFields:
        """Return the task and its words."""
        if self.positive is None or self.negative is None:
            return {"task": self.name}
        return {"task": self.name, "positive": self.positive, "negative": self.negative}

    def default_metrics(self) -> dict[str, Any]:
        """Return what is usual for the task."""
        return {"ROCAUC": metrics.ROCAUC(n_thresholds=100), "LogLoss": metrics.LogLoss()}

    def label(self, value: LabelValue) -> LabelValue:
        """Return True or False; raises `Refusal` for anything that is neither."""
        if self.positive is not None:
            if value == self.positive:
                return True
            if value == self.negative:
                return False
            raise Refusal(
                "wrong_label",
                "label",
                f"expected {self.positive!r} or {self.negative!r}, got {str(value)[:64]!r}",
            )
        if value is True or value is False:
            return value
        if type(value) is int and value in (0, 1):
            return value == 1
        raise Refusal(
            "wrong_label",
            "label",
            f"expected true, false, 0 or 1, got {str(value)[:64]!r}",
        )

    def take(self, said: Any) -> tuple[Said, object, object]:
        """Take the usual answer, floats for True and False, in one go."""
        if type(said) is dict and len(said) == 2:
            first, second = said
            if type(first) is bool and type(second) is bool:
                p_true, p_false = said[True], said[False]
                if type(p_true) is float and type(p_false) is float and p_true - p_true == 0.0:
                    # Of equals the first one, as `most_probable` says.
                    positive = not p_false > p_true if first else p_true > p_false
                    return said, self._words[positive], p_true
        return super().take(said)

    def publish(self, said: Said) -> tuple[object, object]:
        """Return (label or declared word, probability of the positive class or None).

        Raises `ValueError` for what is neither class, and for a probability that is no number.
        """
        if type(said) is not dict:
            return self._word(said), None
        if not said:
            return None, None
        p_true = said.get(True, 0.0)
        if type(p_true) is not float or p_true - p_true != 0.0:
            p_true = finite(p_true)
        return self._word(most_probable(said)), p_true

    def _word(self, label: object) -> object:
        if label is None:
            return None
        if label not in (True, False):  # NaN and any word are true in Python
            raise ValueError(f"the model said {str(label)[:64]!r}")
        return self._words[bool(label)]
