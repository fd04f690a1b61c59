"""The pipeline whose workers and broker are killed."""

from __future__ import annotations

from datetime import timedelta

from river import drift, linear_model, metrics, preprocessing, tree

from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.learning.tasks import Binary
from tests.recovery.pipelines import FEATURES

PARTITIONS = 8

tempest = Pipeline(
    "tempest",
    task=Binary(),
    features=FEATURES,
    labels=Labels(wait=timedelta(minutes=10)),
    metrics=metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss(),
    versions={
        "linear": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            features=["wind", "load"],
        ),
        "tree": Version(tree.HoeffdingTreeClassifier(grace_period=40)),
    },
    initial_champion="linear",
    model_per="partition",
    seed=3,
    drift=[
        DriftMonitor("error", drift.ADWIN(clock=4), name="worse"),
        DriftMonitor("feature:wind", drift.ADWIN(clock=4)),
    ],
    evaluate_every=70,
    digest_every=100,
)
