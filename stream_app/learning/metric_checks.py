"""Which metrics a declaration may name, and under which names they are reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from river import base, metrics

from stream_app.errors import DeclarationError
from stream_app.learning.tasks import Task
from stream_app.learning.tasks.classification import has_probabilities


def named_metrics(declared: object, task: Task) -> dict[str, Any]:
    """Return metrics by name: the declared ones, or the task's own.

    A sum of River metrics is named by class; a mapping gives names of its own. Raises
    `DeclarationError`.
    """
    if declared is None:
        return task.default_metrics()
    if isinstance(declared, Mapping):
        return {str(name): metric for name, metric in declared.items()}
    parts = list(declared) if isinstance(declared, metrics.base.Metrics) else [declared]
    named: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, metrics.base.Metric):
            raise DeclarationError(
                f"metrics: {part!r} is no River metric",
                attempt="metrics=metrics.ROCAUC(n_thresholds=100) + metrics.LogLoss()",
            )
        name = type(part).__name__
        if name in named:
            raise DeclarationError(
                f"metrics: {name} is there twice",
                attempt='names of your own: metrics={"auc": metrics.ROCAUC(), ...}',
            )
        named[name] = part
    return named


def summed(parts: list[Any]) -> Any:
    """Return metrics as River has them: the one, or a sum."""
    return parts[0] if len(parts) == 1 else metrics.base.Metrics(parts)


def check_metric(name: str, metric: Any, task: Task, models: Mapping[str, Any]) -> None:
    """Raise `DeclarationError` unless every version can be scored with `metric`."""
    path = f"metrics.{name}"
    if not isinstance(metric, metrics.base.Metric):
        raise DeclarationError(
            f"{path}: {type(metric).__name__} is no River metric",
            attempt="metrics=metrics.ROCAUC(n_thresholds=100) + metrics.LogLoss()",
        )
    family = {
        "classification": metrics.base.ClassificationMetric,
        "regression": metrics.base.RegressionMetric,
    }[task.metric_family]
    inner = getattr(metric, "metric", metric)
    if not isinstance(inner, family) or not _fits(inner, task):
        raise DeclarationError(
            f"{path}: {type(metric).__name__} cannot score task {task.name}",
            attempt=f"a metric for {task.name}, such as {', '.join(task.default_metrics())}",
        )
    if not _has_number(metric):
        raise DeclarationError(
            f"{path}: {type(metric).__name__} has no single number to report",
            attempt="metrics whose get() is a number",
        )
    if task.metric_family == "classification" and not metric.requires_labels:
        for version, model in models.items():
            _check_probabilities(path, metric, version, model)


def require_metric(path: str, made: object) -> Any:
    """Return what settings in the log say is a metric; raises `DeclarationError` if it is none."""
    if not isinstance(made, metrics.base.Metric):
        raise DeclarationError(f"{path}: {made!r} is no metric", attempt="stream-app apply FILE")
    return made


def _has_number(metric: Any) -> bool:
    try:
        return isinstance(metric.clone().get(), int | float)
    except NotImplementedError:  # River's ClassificationReport is a text
        return False


def _fits(metric: Any, task: Task) -> bool:
    return task.name != "multiclass" or not isinstance(metric, metrics.base.BinaryMetric)


def _check_probabilities(path: str, metric: Any, version: str, model: Any) -> None:
    if isinstance(model, base.Classifier) and not has_probabilities(model):
        raise DeclarationError(
            f'{path}: {type(metric).__name__} needs probabilities, which versions["{version}"] '
            "does not give",
            attempt="metrics.Accuracy(), or a model with predict_proba_one",
        )
