"""The only room that knows River: versions, tasks, evaluation, drift, undo, digests."""
