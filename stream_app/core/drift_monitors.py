"""Drift monitors as they are declared: what they watch, with which detector, and what that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stream_app.core.parameters import one_of
from stream_app.errors import DeclarationError
from stream_app.learning.definition import Prepared, prepare


class DriftMonitor:
    """A River drift detector over "error" or "feature:<name>".

    `action` "alert" puts out a drift alert; "reset" also lets the version's models start anew,
    which makes the monitor a part of every version's definition. `name` tells two monitors of
    one value apart.
    """

    def __init__(
        self,
        watches: str,
        detector: Any,
        *,
        action: Literal["alert", "reset"] = "alert",
        name: str | None = None,
    ) -> None:
        self.watches = watches
        self.detector = detector
        self.action = action
        self.name = watches if name is None else name


def prepared_monitors(
    monitors: Sequence[Any], features: Mapping[str, str] | None, seed: int
) -> list[tuple[DriftMonitor, Prepared]]:
    """Return every monitor with its detector made ready; raises `DeclarationError`."""
    rows: list[tuple[DriftMonitor, Prepared]] = []
    for i, monitor in enumerate(monitors):
        path = f"drift[{i}]"
        if not isinstance(monitor, DriftMonitor):
            raise DeclarationError(
                f"{path}: expected a DriftMonitor, got {type(monitor).__name__}",
                attempt='drift=[DriftMonitor("error", drift.ADWIN())]',
            )
        _check_watched(path, monitor.watches, features)
        one_of(f"{path}.action", monitor.action, ("alert", "reset"))
        if any(monitor.name == other.name for other, _ in rows):
            raise DeclarationError(
                f"{path}: two monitors are named {monitor.name!r}",
                attempt=f'DriftMonitor("{monitor.watches}", ..., name="another")',
            )
        rows.append((monitor, _prepared(path, monitor, seed)))
    return rows


def _prepared(path: str, monitor: DriftMonitor, seed: int) -> Prepared:
    prepared = prepare(monitor.detector, seed=seed, path=f"{path}.detector")
    if not hasattr(prepared.prototype, "drift_detected"):
        raise DeclarationError(
            f"{path}.detector: {type(monitor.detector).__name__} is no drift detector",
            attempt="a detector of river.drift, such as drift.ADWIN()",
        )
    return prepared


def _check_watched(path: str, watches: str, features: Mapping[str, str] | None) -> None:
    if watches == "error":
        return
    feature = watches.removeprefix("feature:")
    if feature == watches or not feature:
        raise DeclarationError(
            f"{path}: {watches!r} cannot be watched",
            attempt='"error" or "feature:<name>"',
        )
    if features is not None:
        kind = features.get(feature, "missing").removesuffix("?")
        if kind not in ("float", "int"):
            raise DeclarationError(
                f"{path}: feature {feature!r} is {kind}, and only numbers can be watched",
                attempt="the name of a declared float or int feature",
            )
