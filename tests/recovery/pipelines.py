"""The pipelines that are killed, restarted and led astray here."""

from __future__ import annotations

from datetime import timedelta

from river import base, drift, forest, linear_model, metrics, naive_bayes, preprocessing, tree

from stream_app.codec.limits import Limits
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.settings import ModelPer
from stream_app.learning.tasks import Binary
from tests.recovery.brittle import Brittle, Gusty

FEATURES = {"wind": float, "load": float | None, "kind": str}


def _scaled() -> Version:
    # No encoder for words in this one, so it takes the numbers alone.
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    return Version(model, features=["wind", "load"])


side_by_side = Pipeline(
    "storm",
    task=Binary(),
    features=FEATURES,
    labels=Labels(wait=timedelta(minutes=10)),
    metrics=metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss(),
    versions={
        "linear": _scaled(),
        "tree": Version(tree.HoeffdingTreeClassifier(grace_period=40)),
        "forest": Version(forest.ARFClassifier(n_models=3, grace_period=40)),
    },
    initial_champion="linear",
    seed=3,
    drift=[
        DriftMonitor("error", drift.ADWIN(clock=4), name="worse"),
        DriftMonitor("feature:wind", drift.ADWIN(clock=4)),
        DriftMonitor("error", drift.PageHinkley(threshold=12), action="reset", name="anew"),
    ],
    limits=Limits(ids_max=1500, early_max=20),
    evaluate_every=70,
    digest_every=150,
)

# Features are not declared: a model meets new ones at any time, also while it only predicts.
by_key = Pipeline(
    "gusts",
    task=Binary(),
    labels=Labels(wait=timedelta(minutes=10)),
    metrics=metrics.LogLoss(),
    versions={
        "linear": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            features=["wind", "load", "rare"],
        ),
        "bayes": Version(naive_bayes.GaussianNB(), features=["wind", "load"]),
        "gusty": Version(Gusty()),
    },
    initial_champion="linear",
    model_per="key",
    seed=3,
    drift=[DriftMonitor("error", drift.PageHinkley(threshold=20), action="reset")],
    evaluate_every=100,
    digest_every=100,
)


def small(
    version: str = "v1",
    *,
    l2: float = 0.0,
    evaluate_every: int = 50,
    wait: timedelta = timedelta(minutes=10),
    others: tuple[str, ...] = (),
    features: tuple[str, ...] = ("wind", "load"),
) -> Pipeline:
    """Return a quick pipeline; what tests of mishaps change of it are its parameters."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=l2)
    versions = {version: Version(model, features=features)}
    for name in others:
        versions[name] = Version(tree.HoeffdingTreeClassifier(grace_period=40))
    return Pipeline(
        "small",
        task=Binary(),
        features=FEATURES,
        labels=Labels(wait=wait),
        versions=versions,
        initial_champion=version,
        evaluate_every=evaluate_every,
        digest_every=100,
    )


def contest(*versions: str, model_per: ModelPer = "pipeline") -> Pipeline:
    """Return a pipeline of these of its three versions, which are quick and do not agree."""
    linear = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    declared = {
        "v1": Version(linear, features=["wind", "load"]),
        "v2": Version(tree.HoeffdingTreeClassifier(grace_period=40)),
        "v3": Version(naive_bayes.GaussianNB(), features=["wind", "load"]),
    }
    return Pipeline(
        "contest",
        task=Binary(),
        features=FEATURES,
        labels=Labels(wait=timedelta(minutes=10)),
        versions={name: declared[name] for name in versions or declared},
        initial_champion="v1",
        model_per=model_per,
        evaluate_every=50,
        digest_every=100,
    )


def brittle(
    champion: str = "brittle", *, others: tuple[str, ...] = (), model: base.Classifier | None = None
) -> Pipeline:
    """Return a pipeline of a model that raises, as champion or beside others."""
    versions = {
        "brittle": Version(model if model is not None else Brittle()),
        "steady": Version(linear_model.LogisticRegression(), features=["wind"]),
    }
    return Pipeline(
        "frail",
        task=Binary(),
        features={"wind": float, "fault": str | None},
        metrics=metrics.Accuracy(),
        versions={name: versions[name] for name in (champion, *others)},
        initial_champion=champion,
        limits=Limits(failures_max=5),
        evaluate_every=10,
        digest_every=10,
    )


PIPELINES = {"side_by_side": side_by_side, "by_key": by_key}
