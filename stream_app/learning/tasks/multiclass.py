"""Multiclass classification: labels are strings."""

from __future__ import annotations

from typing import Any

from river import metrics

from stream_app.events import LabelValue, Refusal
from stream_app.learning.tasks.classification import Classification, most_probable
from stream_app.learning.tasks.task import Said, TaskFields, finite

CLASS_CHARS_MAX = 256


class Multiclass(Classification):
    """Labels are strings of any number of classes, which need not be known before."""

    name = "multiclass"

    def fields(self) -> TaskFields:
        """Return the task."""
        return {"task": self.name}

    def default_metrics(self) -> dict[str, Any]:
        """Return what is usual for the task."""
        return {"Accuracy": metrics.Accuracy(), "MacroF1": metrics.MacroF1()}

    def label(self, value: LabelValue) -> LabelValue:
        """Return the string; raises `Refusal` for anything else: mixed types ruin metrics."""
        if type(value) is not str or not 0 < len(value) <= CLASS_CHARS_MAX:
            raise Refusal(
                "wrong_label",
                "label",
                f"expected a string of 1 to {CLASS_CHARS_MAX} characters, got {str(value)[:64]!r}",
            )
        return value

    def publish(self, said: Said) -> tuple[object, object]:
        """Return (class, probabilities by class, sorted, or None)."""
        if type(said) is dict:
            if not said:
                return None, None
            return most_probable(said), {_text(name): finite(said[name]) for name in sorted(said)}
        return _text(said) if type(said) is str else said, None


def _text(name: object) -> str:
    """Return a class as text; raises `ValueError` for half a character, which no output holds."""
    text = str(name)
    if not text.isascii():
        text.encode()
    return text
