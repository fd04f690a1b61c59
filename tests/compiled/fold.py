"""Folds the same records by whichever build is imported, and says what came of it, line by line.

python -P -m tests.compiled.fold memory REPORT
python -P -m tests.compiled.fold prepare FOLDER
python -P -m tests.compiled.fold go-on FOLDER OFFSET REPORT
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from river import drift, linear_model, metrics, naive_bayes, preprocessing, tree

from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.compiled import build_name
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.log import Log
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.topics import Topics
from stream_app.events import Event, Label, LabelValue, Observation
from stream_app.hosts.embedded import open_hosts, run_hosts
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.learning.tasks import Binary, Multiclass, Regression
from stream_app.records import NewRecord
from tests.core.history import History, Outcome
from tests.golden.cases import CASES
from tests.golden.recording import paths, read_entries

T0 = 1_700_000_000_000
EXAMPLES = 1000
STEPS: list[Any] = [100, "save", 500, "save", "crash", 350, "crash", 333, "save"]
SCALED = preprocessing.StandardScaler


def mixed() -> Pipeline:
    """Return a pipeline with quick and slow models, resets, and every kind of feature."""
    return Pipeline(
        "mixed",
        task=Binary(),
        features={"a": float, "b": float, "c": float, "n": int, "maybe": float | None},
        labels=Labels(wait=timedelta(minutes=10)),
        metrics=metrics.LogLoss() + metrics.Accuracy(),
        limits=Limits(ids_max=1000, early_max=50),
        versions={
            "quick": Version(SCALED() | linear_model.LogisticRegression()),
            "steady": Version(
                SCALED() | linear_model.LogisticRegression(), features=["a", "b", "n"]
            ),
            "l2": Version(SCALED() | linear_model.LogisticRegression(l2=0.01), features=["b", "n"]),
            "tree": Version(tree.HoeffdingTreeClassifier(grace_period=30)),
        },
        initial_champion="quick",
        drift=[
            DriftMonitor("feature:n", drift.PageHinkley(min_instances=20, threshold=5.0)),
            DriftMonitor("feature:n", drift.ADWIN(), action="reset", name="n"),
            DriftMonitor("error", drift.ADWIN(delta=0.05), action="reset"),
        ],
        evaluate_every=200,
        digest_every=150,
    )


def keyed() -> Pipeline:
    """Return a regression with a model for each key."""
    return Pipeline(
        "keyed",
        task=Regression(),
        features={"a": float, "b": float, "c": float, "n": int, "maybe": float | None},
        labels=Labels(wait=timedelta(minutes=10)),
        model_per="key",
        versions={"v": Version(SCALED() | linear_model.LinearRegression())},
        digest_every=200,
    )


def words() -> Pipeline:
    """Return a multiclass pipeline."""
    return Pipeline(
        "words",
        task=Multiclass(),
        features={"a": float, "b": float, "c": float, "n": int, "maybe": float | None},
        labels=Labels(wait=timedelta(minutes=10)),
        versions={"v": Version(SCALED() | naive_bayes.GaussianNB())},
        digest_every=200,
    )


LABELS: dict[str, Callable[[float], LabelValue]] = {
    "mixed": lambda score: score > 0,
    "keyed": lambda score: score,
    "words": lambda score: "high" if score > 1 else "low" if score < -1 else "middle",
}


def events(name: str, count: int) -> Iterator[Event]:
    """Yield observations whose labels come at once, later, early, twice, too late or never."""
    rng = random.Random(name)
    waiting: list[tuple[int, Label]] = []
    for i in range(count):
        now = T0 + i * 1000
        turned = 1 if i < count / 2 else -1
        x: dict[str, Any] = {"a": rng.gauss(0, 1), "b": rng.gauss(3, 1e3), "c": rng.random()}
        x["n"] = rng.randrange(-5, 6) + (0 if i < count / 2 else 40)
        if rng.random() < 0.5:
            x["maybe"] = rng.choice([None, 0.0, 1e-9, 2])
        label = LABELS[name](turned * x["a"] + x["b"] / 1e3 - 3 + rng.gauss(0, 0.3))
        fate, key = rng.random(), f"k{i % 7}"
        if fate < 0.1:
            yield Label(f"o{i}", now, label, key=key)
        inline = label if 0.1 <= fate < 0.5 else None
        yield Observation(f"o{i}", now, x, key=key, label=inline, meta={"i": i} if i % 9 else None)
        if 0.5 <= fate < 0.95:
            waiting.append((i + rng.randrange(900), Label(f"o{i}", now, label, key=key)))
        for due, late in waiting:
            if due == i:
                yield Label(late.id, now, late.label, key=late.key)
                if rng.random() < 0.1:
                    yield Label(late.id, now, late.label, key=late.key)


def histories() -> Iterator[tuple[str, History]]:
    """Yield the golden cases with their recorded records, and the three above."""
    for name, case in CASES.items():
        history = case()
        history.entries = read_entries(paths(name)[0].read_text(encoding="utf-8"))
        yield name, history
    for pipeline in (mixed(), keyed(), words()):
        history = History(pipeline)
        history.add(*events(pipeline.name, EXAMPLES))
        yield pipeline.name, history


def told(outcome: Outcome) -> Iterator[str]:
    """Yield outputs, digests and every row of the images."""
    for topic, rows in outcome.outputs.items():
        for row in rows:
            yield f"{topic} {row!r}"
    yield f"{outcome!r}".partition("next_offset")[2].partition("rows=")[0]
    for family, images in sorted(outcome.rows.items()):
        for key, value in sorted(images.items()):
            yield f"{family} {key!r} {hashlib.sha256(value).hexdigest()}"


def memory(report: Path) -> None:
    """Fold every history, with restarts."""
    lines = [build_name()]
    for name, history in histories():
        outcome = history.fold(STEPS, memory=Memory(live_max=3, rest_bytes_max=0))
        lines += (f"{name}: {line}" for line in told(outcome))
    report.write_text("\n".join(lines), encoding="utf-8")


def prepare(folder: Path) -> None:
    """Make a log with records that nobody has folded yet, and the keys."""
    log, state = open_broker(str(folder / "log.db"), create=True), StateDirectory(folder / "state")
    register(log, mixed(), state.public_keys)
    new = [encode_event(event) for event in events("mixed", EXAMPLES)]
    log.append("mixed.events", [*new, NewRecord(b"odd", b"{")])
    log.close()


def go_on(folder: Path, offset: int, report: Path) -> None:
    """Fold the log on up to `offset`, save, and tell all that is published by then."""
    log, state, declared = (
        open_broker(str(folder / "log.db")),
        StateDirectory(folder / "state"),
        mixed(),
    )
    manifest = register(log, declared, state.public_keys)
    until = {0: min(offset, log.bounds("mixed.events", 0)[1])}
    hosts = open_hosts(log, declared, manifest, state, [0])
    run_hosts(log, declared, hosts, stopped=lambda: False, until=until)
    processor = hosts[0].processor
    digests = [
        processor.chain,
        processor.acceptance.digest(),
        *(v.digest() for v in processor.versions),
    ]
    lines = [build_name(), *published(log, declared), *(digest.hex() for digest in digests)]
    hosts[0].close()
    log.close()
    report.write_text("\n".join(lines), encoding="utf-8")


def published(log: Log, declared: Pipeline) -> Iterator[str]:
    """Yield every output in the log."""
    for topic in Topics(declared.name).all(declared.versions)[1:]:
        for record in log.read(topic, 0, 0, records_max=1 << 30):
            yield f"{topic} {record.key!r} {record.value!r} {record.headers!r}"


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "memory":
        memory(Path(arguments[0]))
    elif command == "prepare":
        prepare(Path(arguments[0]))
    else:
        go_on(Path(arguments[0]), int(arguments[1]), Path(arguments[2]))
