"""What binary and multiclass have in common: classifiers, with or without probabilities."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from river import base, compose
from river.active.base import ActiveLearningClassifier

from stream_app.errors import DeclarationError
from stream_app.events import LabelValue
from stream_app.learning.tasks.task import Predictor, Said, Task, finite

_PLAIN = (bool, str, int, type(None))


class Classification(Task):
    """Models are River classifiers; the label is what they think most probable."""

    metric_family = "classification"

    def predictor(self, model: object) -> Predictor:
        """Use `predict_proba_one` where the model has it, else `predict_one`."""
        kind: Any = type(_last_step(model))
        gives = _probabilities_of(kind)
        if gives is None:
            self._require_classifier(model)
            gives = has_probabilities(model)  # type: ignore[arg-type]
        found: Any = model
        return found.predict_proba_one if gives else found.predict_one  # type: ignore[no-any-return]

    def _require_classifier(self, model: object) -> None:
        if not isinstance(model, base.Classifier):
            raise DeclarationError(
                f"{type(model).__name__} is no classifier, which task {self.name} needs",
                attempt="a River classifier as the last step of the model",
            )
        if isinstance(model, ActiveLearningClassifier):
            raise DeclarationError(
                f"{type(model).__name__} asks for labels, and says more than a prediction",
                attempt="the classifier inside it: labels come with the log here",
            )

    def plain(self, said: Any) -> Said:
        """Return a class, or floats by class: some of River's say a Counter, users' anything."""
        if not isinstance(said, dict):
            word: Said = _plain_class(said)
            return word
        if type(said) is dict:
            for name, probability in said.items():
                if type(probability) is not float or type(name) not in _PLAIN:
                    break
            else:
                return said
        return {_plain_class(name): finite(said[name]) for name in said}

    def error(self, label: LabelValue, said: Said) -> float:
        """Return 1.0 for a wrong class, else 0.0."""
        return 0.0 if most_probable(said) == label else 1.0


def _plain_class(said: Any) -> Any:
    """Return a class in Python's own type; raises `ValueError` for what is none."""
    item = said.item() if isinstance(said, np.generic) else said
    if type(item) in _PLAIN:
        return item
    if isinstance(item, str):
        return str(item)
    raise ValueError(f"the model said {str(said)[:64]!r}")


def _last_step(model: object) -> object:
    if type(model) is compose.Pipeline and model.steps:
        return next(reversed(model.steps.values()))
    return model


@functools.cache
def _probabilities_of(kind: type) -> bool | None:
    """Tell whether River's classifiers of this kind give probabilities; None: look at each.

    For models of many keys: River's own look at an instance costs as much as its prediction.
    """
    asks = issubclass(kind, base.Wrapper | ActiveLearningClassifier)
    if asks or not issubclass(kind, base.Classifier) or not kind.__module__.startswith("river."):
        return None
    return _has_its_own(kind)


def _has_its_own(kind: type) -> bool:
    own = getattr(kind, "predict_proba_one", None)
    return own is not base.Classifier.predict_proba_one


def has_probabilities(model: base.Classifier) -> bool:
    """Tell whether a classifier gives probabilities: River's base class raises instead."""
    last: object = model
    while isinstance(getattr(last, "steps", None), dict):
        last = list(last.steps.values())[-1]  # type: ignore[attr-defined]
    if isinstance(last, base.Wrapper) and isinstance(last._wrapped_model, base.Classifier):
        return _has_its_own(type(last)) and has_probabilities(last._wrapped_model)
    return _has_its_own(type(last))


def most_probable(said: Said) -> object:
    """Return the class with the highest probability, the first of equals, as River does."""
    if not isinstance(said, dict):
        return said
    if len(said) == 2:
        (first, p_first), (second, p_second) = said.items()
        return second if p_second > p_first else first
    return max(said, key=said.__getitem__) if said else None
