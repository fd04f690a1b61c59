"""Made-up weather: a stream with everything in it that a pipeline must tell apart."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.events import Event, Label, Observation
from stream_app.records import NewRecord

BEGIN_MS = 1_357_000_000_000
STEP_MS = 1_000
WAIT_MS = 600_000
# State digests cover one key in 64: the first, third and sixth of these are among them.
KEYS = ["k116", "k1", "k148", "k2", "k3", "k256", *(f"k{number}" for number in range(4, 40))]


def weather(count: int, *, seed: int = 5, keyed: bool = False) -> Iterator[Event]:
    """Yield `count` observations and their labels, in the order in which they become known.

    Labels come seconds or minutes later; some come early, twice, with another value, too late or
    never; some are of nobody. The world turns over halfway. With `keyed`, keys share the events.
    """
    rng = random.Random(seed)
    due: list[tuple[int, int, Event]] = []
    for number in range(count):
        now_ms = BEGIN_MS + number * STEP_MS
        while due and due[0][0] <= now_ms:
            yield heapq.heappop(due)[2]
        observation, label = _example(rng, number, now_ms, count, keyed)
        if rng.random() < 0.03:
            yield Label(label.id, now_ms - 500, label.label, label.key)  # early
        if rng.random() < 0.02:
            yield Label(f"nobody{number}", now_ms - 300, True, label.key)
        yield observation
        for later in _labels(rng, label, now_ms):
            heapq.heappush(due, (later.ts_ms, number, later))
    while due:
        yield heapq.heappop(due)[2]


def _example(
    rng: random.Random, number: int, now_ms: int, count: int, keyed: bool
) -> tuple[Observation, Label]:
    # The wind itself changes too, later than what it means.
    wind, load = rng.gauss(0 if number < count * 0.7 else 1.5, 1), rng.gauss(0, 1)
    features: dict[str, bool | int | float | str | None] = {
        "wind": wind,
        "load": load if rng.random() < 0.9 else None,
        "kind": rng.choice(["gale", "breeze", "calm"]),
    }
    if keyed and rng.random() < 0.05:
        features = {"wind": wind, "load": load, "rare": rng.gauss(0, 1)}
    sign = 1 if number < count // 2 else -1
    answer = sign * (wind + 0.5 * load) + rng.gauss(0, 0.3) > 0
    key = KEYS[min(int(rng.expovariate(0.15)), len(KEYS) - 1)] if keyed else None
    meta: dict[str, object] | None = {"trace": number} if number % 10 == 0 else None
    name = f"s{number}"
    return Observation(name, now_ms, features, key, None, meta), Label(name, now_ms, answer, key)


def _labels(rng: random.Random, label: Label, now_ms: int) -> Iterator[Label]:
    fate = rng.random()
    if fate < 0.04:
        return  # never
    delay_ms = rng.randrange(1, 40) * STEP_MS // 2
    if fate < 0.08:
        delay_ms = WAIT_MS + 60_000  # late
    replace = msgspec.structs.replace
    yield replace(label, ts_ms=now_ms + delay_ms)
    if fate > 0.97:
        yield replace(label, ts_ms=now_ms + delay_ms + 2_000)  # a second time
    elif fate > 0.94:
        yield replace(label, ts_ms=now_ms + delay_ms + 2_000, label=not label.label)


def records(count: int, *, seed: int = 5, keyed: bool = False) -> list[NewRecord]:
    """Return the events as records, with some between them that are refused."""
    rng = random.Random(seed + 1)
    rows: list[NewRecord] = []
    for event in weather(count, seed=seed, keyed=keyed):
        rows.append(encode_event(event))
        if rng.random() < 0.02:
            rows.append(rng.choice(_broken(rows[-1])))
    return rows


def _broken(last: NewRecord) -> list[NewRecord]:
    return [
        NewRecord(b"x", b'{"kind": "observation", "id": '),
        NewRecord(b"x", b'{"kind":"observation","id":"x","ts_ms":1357000000,"features":{}}'),
        NewRecord(None, b'{"kind":"control","id":"c","ts_ms":1357000000000,"action":"time"}'),
        NewRecord(last.key, last.value),  # once more: a duplicate
    ]
