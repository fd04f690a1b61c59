"""What the champion's readers notice of other versions: while one runs beside it, at a cut-over."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import foundation
import msgspec
from peers.work import FEATURES, Example, endless, examples, metric, model

from on_versions.shop import Shop, event, told
from stream_app import Binary, Pipeline, Version
from stream_app.codec.encode import encode_event
from stream_app.core.log import Log
from stream_app.core.rehearsal import rehearsal_processor
from stream_app.hosts.log_url import open_broker
from stream_app.records import Record

ROUNDS = 5
EVENTS_PER_S = 500
BEFORE_S, AFTER_S = 5.0, 5.0
WARM = 20_000  # learned by both before anybody looks
AROUND_S = 2.0  # beside the cut-over: what belongs to it
TICK_S = 0.002


def declared(*versions: str) -> Pipeline:
    """Return the benchmark's pipeline with these versions."""
    return Pipeline(
        "bench",
        task=Binary(),
        features={f"f{i}": float for i in range(FEATURES)},
        metrics=metric(),
        versions={name: Version(model()) for name in versions},
        initial_champion="v1",
    )


def beside(count: int) -> bool:
    """Time the fold with one version and with two, in turns; CPU time."""
    rows = examples(count)
    records = _records(rows)
    added, own = [], []
    for number in range(ROUNDS):
        folds: dict[int, float] = {}
        for versions in (1, 2) if number % 2 else (2, 1):
            folds[versions] = _fold_s(records, declared(*("v1", "v2")[:versions]))
        own.append(foundation.bare(rows)[1])
        added.append(folds[2] - folds[1])
    ratio = statistics.median(a / b for a, b in zip(added, own, strict=True))
    each = [statistics.median(seconds) / count * 1e6 for seconds in (added, own)]
    print(f"  {each[0]:.1f} us more for each event; by itself it takes {each[1]:.1f} us")
    what = "a second version's cost to the champion, times its own"
    return told(what, ratio, 1.0, most=True)


def _records(rows: Sequence[Example]) -> list[Record]:
    events = (event(i, row) for i, row in enumerate(rows))
    made = ((one.ts_ms, encode_event(one)) for one in events)
    return [
        Record("bench.events", 0, offset, ts_ms, new.key, new.value)
        for offset, (ts_ms, new) in enumerate(made)
    ]


def _fold_s(records: Sequence[Record], pipeline: Pipeline) -> float:
    """Return the CPU seconds of folding them."""
    processor = rehearsal_processor(pipeline)

    def run() -> None:
        for start in range(0, len(records), 1000):
            processor.process(records[start : start + 1000])

    seconds = foundation.timed(run)[1]
    assert {fold.learned for fold in processor.versions} == {len(records)}
    return seconds


class Seen(NamedTuple):
    """When a prediction could be read as committed, and whose it was."""

    at_s: float
    version: str


def cutting_over(_count: int) -> bool:
    """Promote while events stream in, and look for the longest pause around that record."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        shop.declare("v1", "v2")
        shop.fill(islice(endless(), WARM))
        shop.call("run", "bench.py", "--until-end")
        command = shop.command("run", "bench.py")
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as live:
            try:
                seen = _promoted(shop)
            finally:
                live.terminate()
    first = next(row.at_s for row in seen if row.version == "v2")
    around = _longest(seen, lambda at_s: abs(at_s - first) < AROUND_S)
    elsewhere = _longest(seen, lambda at_s: abs(at_s - first) >= AROUND_S)
    print(f"  longest pause around the promotion {around:.3f} s, at other times {elsewhere:.3f} s")
    what = f"promoting at {EVENTS_PER_S} events/s: the longest pause"
    return told(what, around, 1.0, "s", most=True)


def _promoted(shop: Shop) -> list[Seen]:
    """Send at a steady rate, promote in the middle; returns every prediction seen."""
    ended = threading.Event()
    seen: list[Seen] = []
    threads = [
        threading.Thread(target=_send, args=(shop, ended)),
        threading.Thread(target=_watch, args=(shop, ended, seen)),
    ]
    for thread in threads:
        thread.start()
    try:
        while not seen:
            time.sleep(TICK_S)
        time.sleep(BEFORE_S)
        shop.call("promote", "bench", "v2", "--reason", "benchmark")
        time.sleep(AFTER_S)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return seen


def _send(shop: Shop, ended: threading.Event) -> None:
    feed = enumerate(islice(endless(), WARM, None), WARM)
    began, sent = time.perf_counter(), 0
    with closing(open_broker(shop.broker)) as log:
        while not ended.is_set():
            due = int((time.perf_counter() - began) * EVENTS_PER_S) - sent
            if due > 0:
                batch = [encode_event(event(i, row)) for i, row in islice(feed, due)]
                log.append("bench.events", batch)
                sent += due
            time.sleep(TICK_S)


def _watch(shop: Shop, ended: threading.Event, seen: list[Seen]) -> None:
    with closing(open_broker(shop.broker, read_only=True)) as log:
        following = _end(log)
        while not ended.is_set():
            rows = log.read("bench.predictions", 0, following, records_max=1000)
            now = time.perf_counter()
            for row in rows:
                seen.append(Seen(now, msgspec.json.decode(row.value)["version"]))
                following = row.offset + 1
            time.sleep(TICK_S)


def _end(log: Log) -> int:
    return log.bounds("bench.predictions", 0)[1]


def _longest(seen: Sequence[Seen], counts: Callable[[float], bool]) -> float:
    """Return the longest pause between two predictions that ends where it counts."""
    return max((b.at_s - a.at_s for a, b in pairwise(seen) if counts(b.at_s)), default=0.0)
