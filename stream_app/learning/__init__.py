"""The only room that knows River: versions, tasks, evaluation, drift, undo, digests."""

from stream_app.learning.later import scipy_later

with scipy_later():
    # What the modules of this room import of River, before they do.
    import river.active.base
    import river.compose
    import river.drift
    import river.forest
    import river.linear_model
    import river.metrics
    import river.multiclass
    import river.neighbors
    import river.optim
    import river.preprocessing
    import river.proba
    import river.rules
    import river.stats
    import river.tree
    import river.utils  # noqa: F401
