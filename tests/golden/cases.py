"""The recorded pipelines, and the events that each was recorded with.

A case is never changed: its pipeline must give what is recorded, release after release, unless
`SEMANTICS` is raised. A new case is a new function here and `python -m tests.golden.record NAME`.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from river import drift, dummy, metrics, stats

from stream_app.codec.limits import Limits
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.events import Control, Label, Observation
from stream_app.learning.tasks import Binary, Multiclass, Regression
from tests.core.history import Entry, History
from tests.golden.models import Share, Slope

T0 = 1_357_000_000_000
MINUTE = 60_000


def binary() -> History:
    """Return every kind of record, good and bad, for words as labels and two versions."""
    declared: dict[str, Any] = {
        "task": Binary("late", "on time"),
        "features": {"carrier": str, "delay": float, "seats": int, "wind": float | None},
        "labels": Labels(wait=timedelta(hours=2)),
        "metrics": metrics.Accuracy() + metrics.F1(),
        "limits": Limits(ids_max=60, early_max=3, features_max=8),
        "versions": {
            "v1": Version(Share(), features=["delay", "broken"]),
            "v2": Version(dummy.PriorClassifier()),
        },
        "initial_champion": "v1",
        "drift": [
            DriftMonitor("feature:delay", drift.PageHinkley(min_instances=10, threshold=8.0)),
            DriftMonitor("error", drift.PageHinkley(min_instances=5, threshold=2.0)),
        ],
        "evaluate_every": 10,
        "digest_every": 40,
    }
    history = History(Pipeline("golden-binary", **declared))
    for i, event in enumerate(_flights(120)):
        history.add(event)
        if i == 30:
            history.entries += [Entry(value, b"bad", event.ts_ms) for value in BAD]
        if i == 90:
            changed = {**declared, "evaluate_every": 7, "labels": Labels(wait=timedelta(hours=1))}
            history.add_settings(Pipeline("golden-binary", **changed).settings(), event.ts_ms)
    late = history.entries[-1].append_ms + 5 * 60 * MINUTE
    history.add(
        Control("end", late, "time"), Label("f3", late, "late"), Control("end", late, "time")
    )
    return history


def _flights(count: int) -> list[Any]:
    chance = random.Random(2013)
    rows: list[Any] = []
    waiting: list[tuple[int, Label]] = []
    for i in range(count):
        now = T0 + i * 3 * MINUTE
        features: dict[str, Any] = {
            "carrier": chance.choice(["UA", "AA", "é"]),
            "delay": chance.randrange(-16, 64) / 8 + (6 if i > 70 else 0),
            "seats": chance.randrange(20, 300),
        }
        if chance.random() < 0.3:
            features["wind"] = chance.choice([None, chance.randrange(80) / 4])
        if chance.random() < 0.1:
            features["broken"] = True
        late = "late" if features["delay"] + chance.randrange(-8, 8) / 8 > 2 else "on time"
        key = chance.choice(["EWR", "JFK", None])
        while waiting and waiting[0][0] <= now:
            rows.append(waiting.pop(0)[1])
        label = Label(f"f{i}", now + 50 * MINUTE, late, key)
        kind = chance.choices(["delayed", "inline", "early", "never", "twice"], [12, 2, 2, 2, 2])[0]
        if kind == "early":
            rows.append(Label(f"f{i}", now, late, key))
        inline = late if kind == "inline" else None
        meta: dict[str, object] | None = (
            {"trace": f"t{i}", "n": [1, 2.5, None]} if i % 9 == 0 else None
        )
        rows.append(Observation(f"f{i}", now, features, key, inline, meta))
        if kind in ("delayed", "twice"):
            waiting.append((now + 50 * MINUTE, label))
        if kind == "twice":
            other = ("late" if late == "on time" else "on time") if i % 2 else late
            waiting.append((now + 50 * MINUTE, Label(f"f{i}", now + 50 * MINUTE, other, key)))
            rows.append(rows[-1])
    return rows


def _observation(fields: bytes) -> bytes:
    head = b'{"kind":"observation","id":"bad","ts_ms":%d,' % T0
    return head + fields + b"}"


BAD = [
    b"",
    b"no json",
    b"\xff\xfe",
    b"[" * 40,
    b"x" * 5000,
    b'{"kind":"weather"}',
    b'{"kind":"label","id":"f1","ts_ms":1357000000,"label":"late"}',
    b'{"kind":"label","id":"f1","ts_ms":1357000000001,"label":1}',
    b'{"kind":"control","id":"c","ts_ms":1357000000001,"action":"time"}',
    _observation(b'"features":{"carrier":"UA","delay":NaN,"seats":1}'),
    _observation(b'"features":{"carrier":"UA","delay":1e308,"seats":1}'),
    _observation(b'"features":{"carrier":"UA","delay":1,"seats":1.5}'),
    _observation(b'"features":{"carrier":"UA","delay":1}'),
    _observation(b'"features":{"carrier":"UA","delay":1,"delay":2,"seats":1}'),
    _observation(b'"features":{"carrier":"\\ud800","delay":1,"seats":1}'),
    _observation(b'"features":{},"lable":"late"'),
    _observation(b'"features":{"carrier":"UA","delay":1,"seats":1},"meta":[1]'),
    # Fine, and one feature less:
    _observation(b'"features":{"carrier":"UA","delay":1,"seats":1,"odd":[1]}'),
]


def by_key() -> History:
    """Return numbers to predict, one model per key, calls that fail, a monitor that resets."""
    pipeline = Pipeline(
        "golden-by-key",
        task=Regression(),
        labels=Labels(wait=timedelta(hours=1)),
        metrics=metrics.MAE() + metrics.MSE(),
        model_per="key",
        versions={
            "slope": Version(Slope()),
            "mean": Version(dummy.StatisticRegressor(stats.Mean()), features=["a"]),
        },
        initial_champion="mean",
        drift=[
            DriftMonitor(
                "error", drift.PageHinkley(min_instances=20, threshold=60.0), action="reset"
            )
        ],
        evaluate_every=12,
        digest_every=25,
    )
    history = History(pipeline)
    chance = random.Random(7)
    for i in range(110):
        now = T0 + i * MINUTE
        a, b = chance.randrange(-16, 17) / 8, chance.randrange(-16, 17) / 4
        features: dict[str, Any] = {"a": a, "b": b}
        if i % 23 == 5:
            features["broken"] = True
        key = f"k{chance.randrange(5)}"
        answer = 3 * a - b + (20 if i > 60 else 0)
        history.add(Observation(f"o{i}", now, features, key))
        if i % 3:
            history.add(Label(f"o{i}", now + 1000, answer, key))
    return history


def multiclass() -> History:
    """Return classes that are not known before, by a fixed prior and by the last one seen."""
    pipeline = Pipeline(
        "golden-multiclass",
        task=Multiclass(),
        metrics=metrics.Accuracy() + metrics.MacroF1(),
        versions={
            "prior": Version(dummy.PriorClassifier()),
            "last": Version(dummy.NoChangeClassifier()),
        },
        initial_champion="prior",
        evaluate_every=9,
        digest_every=20,
    )
    history = History(pipeline)
    chance = random.Random(11)
    for i in range(45):
        label = chance.choice(["sky", "foliage", "é", "path"][: 1 + i // 8])
        history.add(Observation(f"o{i}", T0 + i, {"x": i / 4, "w": "v"}, label=label))
    return history


CASES = {"binary": binary, "by_key": by_key, "multiclass": multiclass}
