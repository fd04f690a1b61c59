"""Will this flight land more than 15 minutes late? The pipeline that docker-compose.yml runs.

Each airport has a model of its own, so that any number of partitions learn the same: a flight's
observation and its label have the airport as their key, and a key stays in its partition.
"""

from datetime import timedelta

from river import drift, linear_model, metrics, preprocessing, tree

from stream_app import Binary, DriftMonitor, Labels, Limits, Pipeline, Version
from stream_app.datasets.flights import FLIGHTS_FEATURES

pipeline = Pipeline(
    "flights",
    task=Binary(),
    features=FLIGHTS_FEATURES,
    labels=Labels(wait=timedelta(days=1)),  # a flight that lands elsewhere never gets a label
    # No flight is longer in miles or later in minutes; one huge value spoils a scaler for ever.
    limits=Limits(magnitude_max=5000),
    metrics=metrics.ROCAUC(n_thresholds=100) + metrics.LogLoss(),
    versions={
        "v1": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            features=["dep_delay", "distance"],
        ),
        "v2": Version(tree.HoeffdingTreeClassifier(), features=["dep_delay", "distance"]),
    },
    initial_champion="v1",
    model_per="key",
    seed=1,
    drift=[DriftMonitor("error", drift.ADWIN())],
)
