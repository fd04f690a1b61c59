"""What a seed stands for: a pipeline, the records of its log, and a stream of chance for faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from typing import Any

import msgspec
from river import drift, metrics

from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.codec.signatures import public_key
from stream_app.core.commit import Manifest
from stream_app.core.drift_monitors import DriftMonitor
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.rehearsal import any_time
from stream_app.core.topics import Topics
from stream_app.events import Control, Label, Observation
from stream_app.hosts.blob_topic import BlobTopic
from stream_app.hosts.controls import signed
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import KEY_NAME
from stream_app.learning.tasks import Regression
from stream_app.storage.memory_log import MemoryLog
from tests.simulation.files import File, files_of
from tests.simulation.models import Brittle, Curious, Fingerprint
from tests.simulation.reference import By, Garbage, KeyChange, ReferenceFold, SeatRow, Settings

WAIT_MS = 50
FAILURES_MAX = 3
EVALUATE_EVERY = 4
SEGMENT = 4  # what the ids' segments of 1,024 are set to meanwhile
PRIVATE_KEYS = {f"k{n}": bytes([n] * 32) for n in range(1, 6)}
NAME = "world"
VERSIONS = ["plain", "curious", "brittle", "tuned"]
UNSIGNED = ""  # who signs nothing
EVENTS = Topics(NAME).events
# State digests cover one key in 64; the first two are among them.
KEYS = ["k116", "k148", "k3", "k4"]
# From one model at a time, and none at rest, to all of them.
MEMORIES: list[Callable[..., Memory]] = [
    partial(Memory, live_max=1, rest_bytes_max=0),
    partial(Memory, live_max=2, rest_bytes_max=600),
    Memory,
]
Unsigned = Observation | Label | Control | Garbage | Settings
Event = Observation | Label | Garbage | By

_GARBAGE = [
    (b"{", "malformed"),
    (b"[1, 2]", "wrong_type"),
    (b'{"kind": "observation", "id": "i1", "ts_ms": 5, "features": {"a": NaN}}', "not_finite"),
    (b'{"kind": "label", "id": "i1", "ts_ms": 99000, "label": "late"}', "wrong_label"),
]


@cache
def pipeline_of(
    champion: str,
    by_key: bool,
    ids_max: int,
    early_max: int,
    versions: tuple[str, ...] = tuple(VERSIONS),
) -> Pipeline:
    """Return the pipeline of some worlds, as a file with some of its versions declares it."""
    models = {
        "plain": Version(Fingerprint()),
        "curious": Version(Curious()),
        "brittle": Version(Brittle()),
        "tuned": Version(Fingerprint(), start="file"),
    }
    return Pipeline(
        NAME,
        task=Regression(),
        labels=Labels(wait=timedelta(milliseconds=WAIT_MS)),
        limits=Limits(ids_max=ids_max, early_max=early_max, failures_max=FAILURES_MAX),
        metrics=metrics.MAE(),
        model_per="key" if by_key else "pipeline",
        versions={name: models[name] for name in versions},
        initial_champion=champion,
        drift=[
            DriftMonitor("error", drift.PageHinkley(min_instances=3, threshold=0.5)),
            DriftMonitor("feature:a", drift.PageHinkley(min_instances=3, threshold=1.0)),
        ],
        evaluate_every=EVALUATE_EVERY,
        digest_every=7,
    )


@dataclass(frozen=True)
class Entry:
    """One record before it is in a log."""

    event: Event
    key: bytes | None
    value: bytes
    offset: int
    append_ms: int


@dataclass
class World:
    """A pipeline with a history; the same for a seed on every machine."""

    seed: int
    champion: str
    by_key: bool
    ids_max: int
    early_max: int
    memory: Memory
    entries: list[Entry] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline whose history this is."""
        return pipeline_of(self.champion, self.by_key, self.ids_max, self.early_max)

    @property
    def upgrades(self) -> bool:
        """Whether machines are found with another River, in storm, and logs tell of it."""
        return random.Random(f"other upgrades {self.seed}").random() < 0.4

    @property
    def bounds(self) -> bool:
        """Whether backfills begin to put out what they say in mid-log."""
        return random.Random(f"bounds of world {self.seed}").random() < 0.6

    def file(self, versions: Collection[str], champion: str) -> Pipeline:
        """Return what another file says that declares these versions alone."""
        named = tuple(name for name in VERSIONS if name in versions)
        return pipeline_of(champion, self.by_key, self.ids_max, self.early_max, named)

    @property
    def files(self) -> list[File]:
        """The files that a version may begin from."""
        return files_of(self.by_key, tuple(KEYS))

    def log(self) -> tuple[MemoryLog, Manifest]:
        """Return a log that has the records, and the pipeline's manifest in it."""
        log = MemoryLog(log_id=f"world-{self.seed}", clock_ms=lambda: 0)
        manifest = _registered(log, self.pipeline)
        for file in self.files:
            BlobTopic(log, NAME).append(file.data)
        for row in self.entries:
            log.append_at(EVENTS, 0, row.offset, row.append_ms, row.key, row.value)
        return log, manifest

    def reference(self, seated: Sequence[SeatRow] = ()) -> ReferenceFold:
        """Return what the simple fold makes of the records, up to where the champion fails.

        `seated` are the changes of the seat that no record stands for.
        """
        reference = ReferenceFold(
            versions=VERSIONS,
            champion=self.champion,
            failures_max=FAILURES_MAX,
            by_key=self.by_key,
            evaluate_every=EVALUATE_EVERY,
            wait_ms=WAIT_MS,
            ids_max=self.ids_max,
            early_max=self.early_max,
            segment=SEGMENT,
            seated=seated,
            files={file.order.sha256: file.content for file in self.files},
        )
        for row in self.entries:
            if not reference.fold(row.offset, row.event):
                break
        return reference


def world_of(seed: int, length: int = 150) -> World:
    """Return a seed's world, with at most `length` records."""
    draw = random.Random(seed)
    world = World(
        seed,
        champion=draw.choice(["plain", "plain", "curious", "curious", "curious", "brittle"]),
        by_key=draw.random() < 0.5,
        ids_max=draw.choice([5, 9, 60]),
        early_max=draw.choice([3, 30]),
        memory=draw.choice(MEMORIES)(changes_max=draw.choice([3, 30, 10**5])),
    )
    manifest = _registered(MemoryLog(log_id=f"world-{seed}"), world.pipeline)
    # A stream of chance of their own: worlds without key controls are what they were before.
    chance = random.Random(f"keys {seed}")
    rows = _signed(chance, draw, draw.randint(length // 3, length))
    offset = 0
    rows = _with_promotes(random.Random(f"promotes {seed}"), rows)
    rows = _with_imports(random.Random(f"imports {seed}"), world.files, rows)
    if world.upgrades:
        rows = _with_environments(random.Random(f"environments {seed}"), rows)
    for event, dice in rows:
        offset += dice.choice([0] * 8 + [1, 3])
        new = _encoded(event, manifest, world.pipeline)
        # Clocks of producers and brokers jump; only what is far ahead of the append is refused.
        append_ms = dice.choice([10_000, 20_000, dice.randrange(10_000, 10**9)])
        world.entries.append(Entry(event, new[0], new[1], offset, append_ms))
        offset += 1
    return world


def _registered(log: MemoryLog, pipeline: Pipeline) -> Manifest:
    keys = {KEY_NAME: _public("k1")}
    return register(log, pipeline, lambda: keys, settings=any_time(pipeline.settings()))


def _encoded(event: Event, manifest: Manifest, pipeline: Pipeline) -> tuple[bytes | None, bytes]:
    if isinstance(event, Garbage):
        return b"garbage", event.value
    if isinstance(event, By):
        control = event.event
        if isinstance(control, Settings):
            control = _settings_control(control, pipeline)
        if isinstance(control, KeyChange):
            control = _key_control(control)
        if event.signer != UNSIGNED:
            control = signed(control, manifest, PRIVATE_KEYS[event.signer], event.signer)
        new = encode_event(control)
    else:
        new = encode_event(event)
    return new.key, new.value


def _public(name: str) -> str:
    return public_key(PRIVATE_KEYS[name]).hex()


def _key_control(event: KeyChange) -> Control:
    changes = {name: key and _public(key) for name, key in event.changes.items()}
    return Control(event.id, event.ts_ms, "key", public_keys=changes)


def _settings_control(event: Settings, pipeline: Pipeline) -> Control:
    settings = any_time(pipeline.settings())
    reporting = msgspec.structs.replace(
        settings.reporting, evaluate_every=event.evaluate_every, digest_every=5
    )
    changed = msgspec.structs.replace(settings, reporting=reporting)
    return Control(event.id, event.ts_ms, "settings", settings=changed.plain())


def _signed(
    chance: random.Random, draw: random.Random, count: int
) -> Iterator[tuple[Event, random.Random]]:
    """Give the events, controls signed; in every second world keys change on the way."""
    rate = chance.choice([0.0, 0.0, 0.05, 0.15])
    signs, before = ["k1"], list[By]()
    for row in _events(draw, count):
        if chance.random() < rate:
            yield (
                (_change(chance, signs) if chance.random() < 0.8 else _copy(chance, before)),
                chance,
            )
        if not isinstance(row, Control | Settings):
            yield row, draw
            continue
        event = By(_signer(chance, signs) if rate else "k1", row)
        before.append(event)
        yield event, draw


def _with_promotes(
    chance: random.Random, rows: Iterator[tuple[Event, random.Random]]
) -> Iterator[tuple[Event, random.Random]]:
    """Give the events, in every second world with promotes among them."""
    rate = chance.choice([0.0, 0.0, 0.04, 0.12])
    before = list[Event]()
    for row in rows:
        if chance.random() < rate:
            again = before and chance.random() < 0.15
            before.append(chance.choice(before) if again else _promote(chance))
            yield before[-1], chance
        yield row


def _with_environments(
    chance: random.Random, rows: Iterator[tuple[Event, random.Random]]
) -> Iterator[tuple[Event, random.Random]]:
    """Give the events, some that accept an environment among them; no fold obeys those."""
    whole = {"python": "3", "river": "1", "numpy": "2", "cpu": "any"}
    for row in rows:
        if chance.random() < 0.03:
            said = chance.choice([whole, whole, whole, {"python": "3"}, None])
            name = f"environment-{chance.randrange(9)}"
            signer = chance.choice(["k1"] * 9 + ["k2", UNSIGNED])
            yield By(signer, Control(name, 1000, "environment", environment=said)), chance
        yield row


def _with_imports(
    chance: random.Random, files: list[File], rows: Iterator[tuple[Event, random.Random]]
) -> Iterator[tuple[Event, random.Random]]:
    """Give the events, in most worlds with orders among them to begin from a file."""
    rate = chance.choice([0.0, 0.02, 0.05, 0.15])
    whole: list[Any] = [msgspec.to_builtins(file.order) for file in files]
    for row in rows:
        if chance.random() < rate:
            name = chance.choice(["tuned"] * 9 + ["plain", "gone", "No Name", None])
            file = chance.choice([*whole[:2] * 4, whole[2], {"sha256": "0"}, None])
            signer = chance.choice(["k1"] * 12 + ["k2", UNSIGNED])
            order = Control(f"import-{chance.randrange(20)}", 1000, "import", name, file=file)
            yield By(signer, order), chance
        yield row


def _promote(chance: random.Random) -> By:
    names = [*VERSIONS * 4, "gone", "No Name", "", None]
    signer = chance.choice(["k1"] * 12 + ["k2", "k5", UNSIGNED])
    control = Control(
        f"promote-{chance.randrange(40)}", 1000, "promote", version=chance.choice(names)
    )
    return By(signer, control)


def _signer(chance: random.Random, signs: list[str]) -> str:
    return chance.choice(signs if chance.random() < 0.7 else [*PRIVATE_KEYS])


def _change(chance: random.Random, signs: list[str]) -> By:
    """Return a change of keys; what it would do to `signs` is guessed, as operators do."""
    changes: dict[str, str | None] = {}
    signer = _signer(chance, signs)
    for name in chance.sample([*PRIVATE_KEYS], chance.choice([1, 1, 2])):
        changes[name] = None if name in signs and chance.random() < 0.8 else name
    left = [name for name in signs if name not in changes]
    signs[:] = left + [name for name, key in changes.items() if key] or signs
    return By(signer, KeyChange(f"key-{chance.randrange(8)}", 1000, changes))


def _copy(chance: random.Random, before: list[By]) -> By:
    return chance.choice(before) if before else By("k5", Control("time-0", 1000, "time"))


def _events(draw: random.Random, count: int) -> list[Unsigned]:
    now, rows = 1000, list[Unsigned]()
    names = [f"i{n}" for n in range(draw.choice([12, 40, 1000]))]
    kinds = ["observation", "label", "inline", "time", "garbage", "settings"]
    weights = [16, 16, 8, 1, 2, draw.choice([0, 0, 1])]
    # Time goes on slowly and back at times; or it stands, and all that waits is due at once.
    steps = draw.choice(
        [[0, 0, 1, 1, 2, 3, 10, -20], [0] * 20 + [120], [0, 5, 30, -40], [3, 4, 5, 200, -190]]
    )
    level = 0.0
    for i in range(count):
        now = max(0, now + draw.choice([*steps, 90 if i % 30 > 20 else steps[0]]))
        level = draw.choice([0.0, 0.0, 3.0, 6.0]) if i % 25 == 0 else level
        [kind] = draw.choices(kinds, weights)
        name = f"i{i}" if kind != "label" and len(names) > 100 else draw.choice(names)
        if kind == "label" and len(names) > 100:
            name = f"i{draw.randrange(max(0, i - 30), i + draw.choice([3, 3, 60]))}"
        rows.append(_event(draw, kind, name, now, level, i))
    return rows


def _event(draw: random.Random, kind: str, name: str, now: int, level: float, i: int) -> Unsigned:
    # An id has its key for life, as label and observation have to share it.
    key = draw.choice([KEYS[hash_of(name) % len(KEYS)]] * 9 + [KEYS[0]])
    if kind == "garbage":
        return Garbage(*draw.choice(_GARBAGE))
    if kind == "time":
        return Control(f"time-{draw.randrange(i + 1)}", now, "time")
    if kind == "settings":
        return Settings(f"settings-{draw.randrange(3)}", draw.choice([2, 3, 7]), now)
    if kind == "label":
        return Label(name, now, draw.choice([0.0, 0.5, 1.0]), key)
    features: dict[str, Any] = {"a": draw.gauss(level, 1.0), "b": draw.gauss(level, 1.0)}
    if draw.random() < 0.2:
        features[draw.choice("cdefgh")] = draw.choice([1, 2.5, True])
    label = draw.choice([0.0, 1.0]) if kind == "inline" else None
    return Observation(name, now, features, key, label)


def hash_of(name: str) -> int:
    """Return a number that a name has on every machine."""
    return sum(name.encode())
