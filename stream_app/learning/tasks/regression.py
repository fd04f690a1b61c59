"""Regression: labels are numbers."""

from __future__ import annotations

from typing import Any

from river import base, metrics

from stream_app.errors import DeclarationError
from stream_app.events import LabelValue, Refusal
from stream_app.learning.tasks.task import Predictor, Said, Task, TaskFields, finite

MAGNITUDE_MAX = 1e15


class Regression(Task):
    """Labels are finite numbers; a drift monitor watches the absolute error."""

    name = "regression"
    metric_family = "regression"

    def fields(self) -> TaskFields:
        """Return the task."""
        return {"task": self.name}

    def default_metrics(self) -> dict[str, Any]:
        """Return what is usual for the task."""
        return {"MAE": metrics.MAE(), "RMSE": metrics.RMSE()}

    def label(self, value: LabelValue) -> LabelValue:
        """Return the number; raises `Refusal` for anything else, and for absurd magnitudes."""
        if type(value) not in (int, float):
            raise Refusal("wrong_label", "label", f"expected a number, got {str(value)[:64]!r}")
        if not -MAGNITUDE_MAX <= value <= MAGNITUDE_MAX:  # type: ignore[operator]
            raise Refusal(
                "out_of_range", "label", f"{str(value)[:40]} is outside of ±{MAGNITUDE_MAX:g}"
            )
        return value

    def predictor(self, model: object) -> Predictor:
        """Use `predict_one`."""
        if not isinstance(model, base.Regressor):
            raise DeclarationError(
                f"{type(model).__name__} is no regressor, which task regression needs",
                attempt="a River regressor as the last step of the model",
            )
        if isinstance(model, base.MultiTargetRegressor):
            raise DeclarationError(
                f"{type(model).__name__} predicts several numbers, and a label here is one",
                attempt="a regressor of one number, in a pipeline for each of the targets",
            )
        return model.predict_one  # type: ignore[return-value]

    def plain(self, said: Any) -> Said:
        """Return a float: users' models say fractions and NumPy's numbers, too."""
        return said if type(said) is float or said is None else finite(said)

    def publish(self, said: Said) -> tuple[object, object]:
        """Return (number, None)."""
        return (None if said is None else finite(said)), None

    def error(self, label: LabelValue, said: Said) -> float:
        """Return the absolute difference."""
        return abs(float(label) - float(said))  # type: ignore[arg-type]
