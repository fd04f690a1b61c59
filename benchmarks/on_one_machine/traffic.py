"""Endless streams of events for measurements of what stays steady; none keeps what it gave."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import accumulate, count
from typing import Any, Literal

from peers.work import FEATURES, examples, metric, model
from river import forest, tree

from stream_app import Binary, Label, Labels, Limits, Observation, Pipeline, Version
from stream_app.events import Event
from stream_app.records import NewRecord

DELAY = 2000  # observations between one and its label
T0 = 1_700_000_000_000
MODELS: dict[str, Callable[[], Any]] = {
    "scaler|logreg": model,
    "HoeffdingTree": tree.HoeffdingTreeClassifier,
    "ARF(10)": lambda: forest.ARFClassifier(n_models=10, seed=1),
}


def pipeline(
    name: str = "scaler|logreg",
    *,
    model_per: Literal["pipeline", "partition", "key"] = "pipeline",
    wait: timedelta = timedelta(days=1),
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Pipeline:
    """Return a declaration with one version."""
    return Pipeline(
        "steady",
        task=Binary(),
        model_per=model_per,
        features={f"f{i}": float for i in range(FEATURES)},
        labels=Labels(wait=wait),
        limits=limits,
        metrics=metric(),
        versions={"v1": Version(MODELS[name]())},
    )


def inline(key: Callable[[], str] = lambda: "k", first: int = 0) -> Iterator[Event]:
    """Yield observations that carry their label."""
    rows = examples(10_000)
    for i in count(first):
        x, y = rows[i % len(rows)]
        yield Observation(f"id-{i}", T0 + i, x, key=key(), label=y)


def waiting(first: int = 0) -> Iterator[Event]:
    """Yield observations whose labels do not come."""
    rows = examples(10_000)
    for i in count(first):
        yield Observation(f"id-{i}", T0 + i, rows[i % len(rows)][0], key="k")


def mixed() -> Iterator[Event | NewRecord]:
    """Yield delayed labels, and one in a hundred of all that is not as it should be.

    Labels that never come, come early or twice, records that are no events, ids that came before,
    and features that nobody declared, each under a name of its own.
    """
    rows = examples(10_000)
    for i in count():
        x, y = rows[i % len(rows)]
        odd = i % 100
        if odd == 1:
            yield Label(f"id-{i}", T0 + i, y, key="k")
        if odd == 2:
            x = {**x, f"new-{i}": 1.0}
        yield Observation(f"id-{i}", T0 + i, x, key="k")
        if odd == 3:
            yield NewRecord(b"k", b'{"kind": "observation", "id": "torn-%d' % i)
        if odd == 4:
            yield Observation(f"id-{i}", T0 + i, x, key="k")
        if i >= DELAY and (i - DELAY) % 100 not in (1, 5):
            label = Label(f"id-{i - DELAY}", T0 + i, rows[(i - DELAY) % len(rows)][1], key="k")
            yield label
            if odd == 6:
                yield label


def uniform(keys: int) -> Callable[[], str]:
    """Return what draws keys that are all as likely."""
    rng = random.Random(3)
    return lambda: f"key-{rng.randrange(keys)}"


def zipf(keys: int) -> Callable[[], str]:
    """Return what draws the n-th key with a likelihood of 1/n."""
    rng = random.Random(5)
    sums = list(accumulate(1 / (n + 1) for n in range(keys)))
    return lambda: f"key-{bisect_left(sums, rng.random() * sums[-1])}"


def each_once(first: int = 0) -> Callable[[], str]:
    """Return what gives every key in turn."""
    numbers = count(first)
    return lambda: f"key-{next(numbers)}"
