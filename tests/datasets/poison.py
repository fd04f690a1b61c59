"""What poisoned records cost: the demo's models on the real flights, 1 % of the records spoiled.

Accuracy is counted over the flights that nobody touched, the same ones in every row, so that a row
shows what the poison did to the model and not that a spoiled flight is hard to predict. All of it
is decided by a seed: the figures are the same on every run. `python -m tests.datasets.poison`
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from stream_app.cli.demo_pipeline import pipeline
from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.core.pipeline import Pipeline
from stream_app.core.rehearsal import rehearsal_processor
from stream_app.core.topics import Topics
from stream_app.datasets.flights import FLIGHTS_FEATURES, flights
from stream_app.events import Label, Observation
from stream_app.records import Record

SHARE = 0.01
BATCH = 1000
NUMBERS = ("dep_delay", "distance")
Event = dict[str, Any]
Poison = Callable[[Event, random.Random, float], bytes]


def _bytes(event: Event) -> bytes:
    return msgspec.json.encode(event)


def _with(event: Event, value: Callable[[str], Any]) -> bytes:
    features = {**event["features"], **{name: value(name) for name in NUMBERS}}
    return _bytes({**event, "features": features})


def not_finite(event: Event, draw: random.Random, _: float) -> bytes:
    """NaN and infinities, as careless writers of JSON spell them."""
    word = draw.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999"])
    return _with(event, lambda _: "?").replace(b'"?"', word)


def absurd(event: Event, draw: random.Random, _: float) -> bytes:
    """Finite, and beyond what the gate lets through."""
    return _with(event, lambda _: draw.choice([-1, 1]) * 10 ** draw.uniform(15.1, 308))


def huge(event: Event, draw: random.Random, _: float) -> bytes:
    """Of any magnitude that the gate lets through by default."""
    return _with(event, lambda _: draw.choice([-1, 1]) * 10 ** draw.uniform(4, 15))


def other_unit(event: Event, _: random.Random, __: float) -> bytes:
    """Seconds for minutes and metres for miles: wrong, and nothing to see by its size alone."""
    return _with(
        event, lambda name: event["features"][name] * (60 if name == "dep_delay" else 1609)
    )


def noise(event: Event, draw: random.Random, _: float) -> bytes:
    """Any value that a flight could have, and this one has not."""
    return _with(event, lambda name: draw.uniform(-30, 1000) if name == "dep_delay" else 800.0)


def drifting(event: Event, _: random.Random, progress: float) -> bytes:
    """Drift away as a sensor does, further and further, to ten hours by the end."""
    return _with(event, lambda name: event["features"][name] + 600 * progress)


def wrong_type(event: Event, draw: random.Random, _: float) -> bytes:
    """Text and lists for numbers."""
    return _with(event, lambda _: draw.choice(["late", [1], {"x": 1}, None, True]))


def broken(event: Event, draw: random.Random, _: float) -> bytes:
    """Bytes that got lost or changed on the way."""
    value = bytearray(_bytes(event))
    for _ in range(3):
        value[draw.randrange(len(value))] = draw.randrange(256)
    return bytes(value[: draw.randrange(1, len(value))])


def against(event: Event, _: random.Random, __: float) -> bytes:
    """On purpose: the strongest sign of being late; its label is turned around as well."""
    return _with(event, lambda name: 1000.0 if name == "dep_delay" else 100.0)


POISONS: dict[str, Poison] = {
    poison.__name__: poison
    for poison in (
        not_finite, absurd, wrong_type, broken, noise, drifting, other_unit, huge, against,
    )
}  # fmt: skip


# What a flight could be: no gate tells them from the truth.
PLAUSIBLE = {"against", "drifting", "noise"}


def random_poison(event: Event, draw: random.Random, progress: float) -> bytes:
    """Whatever comes of broken writers and readers: any of the kinds that look like no flight."""
    names = [name for name in POISONS if name not in PLAUSIBLE]
    return POISONS[draw.choice(names)](event, draw, progress)


class Run(NamedTuple):
    """What came of a stream: whether each version was right, by flight; dead letters by reason."""

    right: dict[str, dict[str, bool]]
    refused: Counter[str]


def spoiled(share: float, seed: int, ids: Iterable[str]) -> set[str]:
    """Return the flights whose observation is spoiled, the same ones for every kind of poison.

    `share` is of all records, and every second one is a label.
    """
    draw = random.Random(seed)
    return {name for name in ids if draw.random() < 2 * share}


def run(
    declared: Pipeline, events: Sequence[Observation | Label], bad: set[str], poison: Poison | None
) -> Run:
    """Process a stream whose bad flights are spoiled."""
    processor = rehearsal_processor(declared)
    labels = {event.id: bool(event.label) for event in events if isinstance(event, Label)}
    result = Run({name: {} for name in declared.versions}, Counter())
    records = list(_records(declared, events, bad, poison))
    for start in range(0, len(records), BATCH):
        batch = processor.process(records[start : start + BATCH])
        if batch.stop is not None:
            raise batch.stop
        for output in batch.outputs:
            row = msgspec.json.decode(output.value)
            if row["kind"] == "prediction" and row["observation_id"] in labels:
                name = row["observation_id"]
                result.right[row["version"]][name] = row["prediction"] is labels[name]
            elif row["kind"] == "dead_letter":
                result.refused[row["reason"]] += 1
    return result


def _records(
    declared: Pipeline, events: Sequence[Observation | Label], bad: set[str], poison: Poison | None
) -> Iterator[Record]:
    draw = random.Random(2)
    for offset, event in enumerate(events):
        value = encode_event(event).value
        if poison is not None and event.id in bad:
            if isinstance(event, Observation):
                value = poison(msgspec.json.decode(value), draw, offset / len(events))
            elif poison is against:
                value = encode_event(msgspec.structs.replace(event, label=not event.label)).value
        key = (event.key or event.id).encode()
        yield Record(Topics(declared.name).events, 0, offset, event.ts_ms, key, value)


def cost(clean: Run, other: Run, bad: set[str], version: str) -> float:
    """Return how much accuracy was lost over the flights that nobody touched."""
    before, after = clean.right[version], other.right[version]
    untouched = [name for name in before if name not in bad]
    lost = sum(before[name] - after.get(name, False) for name in untouched)
    return lost / len(untouched)


def accuracy(found: Run, bad: set[str], version: str) -> float:
    """Return the accuracy over the flights that nobody touched."""
    rows = [right for name, right in found.right[version].items() if name not in bad]
    return sum(rows) / len(rows)


def tightened(declared: Pipeline, magnitude: float) -> Pipeline:
    """Return a pipeline whose gate refuses what is larger than that."""
    return Pipeline(
        declared.name,
        task=declared.task,
        features=FLIGHTS_FEATURES,
        labels=declared.labels,
        limits=Limits(magnitude_max=magnitude),
        metrics={},
        versions=declared.versions,
        initial_champion=declared.initial_champion,
        seed=declared.seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--magnitude-max", type=float, default=pipeline.limits.magnitude_max)
    chosen = parser.parse_args(arguments)
    declared = tightened(pipeline, chosen.magnitude_max)
    events = list(flights(days=chosen.days))
    bad = spoiled(chosen.share, chosen.seed, sorted({event.id for event in events}))
    clean = run(declared, events, bad, None)
    versions = list(declared.versions)
    print(
        f"{len(events)} records, {len(bad)} flights spoiled, magnitude_max {chosen.magnitude_max:g}"
    )
    print("| poison | refused |" + "".join(f" {name} |" for name in versions))
    base = "".join(f" {accuracy(clean, bad, name):.4f} |" for name in versions)
    print(f"| none: accuracy | 0 |{base}")
    for name, poison in {**POISONS, "random": random_poison}.items():
        found = run(declared, events, bad, poison)
        costs = "".join(f" {cost(clean, found, bad, version):+.4f} |" for version in versions)
        print(f"| {name} | {sum(found.refused.values())} |{costs}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
