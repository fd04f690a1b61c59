"""Will this flight land more than 15 minutes late? The pipeline of `stream-app demo`.

The demo puts a copy of this file beside its log and runs that. The copy is yours to edit: give a
changed model a new name (v4), and `stream-app backfill` builds it from the first flight on.
"""

from datetime import timedelta

from river import drift, linear_model, metrics, preprocessing, tree

from stream_app import Binary, DriftMonitor, Labels, Limits, Pipeline, Version
from stream_app.datasets.flights import FLIGHTS_FEATURES

WEATHER = ["precip", "temp", "visib", "wind_speed"]

pipeline = Pipeline(
    "flights",
    task=Binary(),
    features=FLIGHTS_FEATURES,
    labels=Labels(wait=timedelta(days=1)),  # a flight that lands elsewhere never gets a label
    # No flight is longer or later than this. One larger value would spoil a scaler for ever.
    limits=Limits(magnitude_max=5000),
    metrics=metrics.ROCAUC(n_thresholds=100) + metrics.LogLoss(),
    versions={
        # What a dispatcher would look at: how late it left, and how far it has to go.
        "v1": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            features=["dep_delay", "distance"],
        ),
        # More to look at, so more to learn: behind at first, and closer by the week.
        "v2": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            features=["dep_delay", "distance", "sched_dep_hour", *WEATHER],
        ),
        # A tree grows rules such as "left 20 minutes late, but has 2,000 miles to catch up".
        "v3": Version(tree.HoeffdingTreeClassifier(), features=["dep_delay", "distance"]),
    },
    initial_champion="v1",
    seed=1,
    drift=[
        DriftMonitor("error", drift.ADWIN()),
        # Delays come in bursts all the time; with so small a delta only storms are news.
        DriftMonitor("feature:dep_delay", drift.ADWIN(delta=1e-30)),
    ],
    digest_every=25_000,
)
