"""What a version has to show before it may become champion."""

from __future__ import annotations

from typing import Any

from stream_app.core.settings import GateSettings
from stream_app.errors import DeclarationError


class PromoteWhen:
    """A gate: `promote` refuses a version that has not shown to be better than the champion.

    On the labelled events that both have predicted, at least `labels_min` of them, the version has
    to be better in `metric` by `margin` or more, in the metric's own unit; it is the lower end of
    the 95 % interval that counts, so that luck does not. Going back to a version that was champion
    before is never refused, nor is `--from-committed`.
    """

    def __init__(self, metric: Any, *, margin: Any = 0.0, labels_min: Any = 1000) -> None:
        if not isinstance(metric, str) or not metric:
            raise DeclarationError(
                f"promote_when.metric: {metric!r} is no metric's name",
                attempt='promote_when=PromoteWhen("ROCAUC")',
            )
        if isinstance(margin, bool) or not isinstance(margin, int | float) or margin < 0:
            raise DeclarationError(
                f"promote_when.margin: {margin!r} is no margin", attempt="margin=0.01, 0 or more"
            )
        if type(labels_min) is not int or labels_min < 1:
            raise DeclarationError(
                f"promote_when.labels_min: {labels_min!r} is no number of labels",
                attempt="labels_min=1000, 1 or more",
            )
        self.metric: str = metric
        self.margin = float(margin)
        self.labels_min: int = labels_min

    def settings(self) -> GateSettings:
        """Return the gate as the log has it."""
        return GateSettings(self.metric, self.margin, self.labels_min)


def checked_gate(gate: Any, metrics: list[str]) -> PromoteWhen | None:
    """Return a declared gate, if there is one; raises `DeclarationError`."""
    if gate is None:
        return None
    if not isinstance(gate, PromoteWhen):
        raise DeclarationError(
            f"promote_when: {gate!r} is no gate",
            attempt='promote_when=PromoteWhen("ROCAUC", margin=0.005, labels_min=5000)',
        )
    if gate.metric not in metrics:
        raise DeclarationError(
            f"promote_when.metric: the pipeline has no metric {gate.metric!r}",
            attempt=f"one of {', '.join(metrics)}",
        )
    return gate
