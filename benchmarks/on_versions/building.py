"""What it costs to build a version from history, to replay one, and to take one in."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.work import examples

from on_versions.shop import Shop, bare_s, told

PREFIX = "STREAM_APP_KAFKA_TOPIC_PREFIX"


def speed(count: int) -> bool:
    """Time a backfill, River's bare loop and live; start-up is measured and taken off."""
    rows = examples(count)
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            shop.fill(rows)
            live = shop.call("run", "bench.py", "--until-end")
            idle = shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2")
            built = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            again = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            seen.append((bare_s(rows), live - idle, built - again))
    against_bare = statistics.median(bare / built for bare, _, built in seen)
    against_live = statistics.median(live / built for _, live, built in seen)
    one = told("backfill, times River's bare loop", against_bare, 0.75)
    return told("backfill, times live on the same log", against_live, 1.2) and one


def processes(count: int) -> bool:
    """Time two processes on two partitions, one, and live as a plain `run` is."""
    rows = examples(count)
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            shop.fill(rows, partitions=2)
            live = shop.call("run", "bench.py", "--until-end")
            live -= shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2", "v3")
            one = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            idle = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            two = shop.call("backfill", "bench.py", "v3", "--workers", "2")
            idle_two = shop.call("backfill", "bench.py", "v3", "--workers", "2")
            seen.append((live, one - idle, two - idle_two))
    against_one = statistics.median(one / two for _, one, two in seen)
    against_live = statistics.median(live / two for live, _, two in seen)
    beside_live = told("backfill of two partitions, times `run` of them", against_live, 1.2)
    return told("backfill by two processes, times by one", against_one, 1.8) and beside_live


def from_kafka(count: int, broker: str) -> bool:
    """Time a backfill from a real broker, and River's bare loop; start-up is taken off."""
    rows = examples(count)
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder, own_topics():
            shop = Shop(Path(folder), broker=broker)
            shop.call("topics", "bench.py", "--create")
            shop.fill(rows)
            shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2")
            shop.call("topics", "bench.py", "--create")
            built = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            again = shop.call("backfill", "bench.py", "v2", "--workers", "1")
            seen.append(bare_s(rows) / (built - again))
    return told("backfill from Kafka, times River's bare loop", statistics.median(seen), 0.65)


@contextmanager
def own_topics() -> Iterator[None]:
    """Let this process and the commands that it runs use topics that nobody else has."""
    before = os.environ.get(PREFIX)
    os.environ[PREFIX] = f"bench-{time.time_ns()}."
    try:
        yield
    finally:
        del os.environ[PREFIX]
        if before is not None:
            os.environ[PREFIX] = before


def pieces(count: int) -> bool:
    """Time a replay in pieces by two processes, and one fold."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), keep=count // 8)
        shop.fill(examples(count))
        shop.call("run", "bench.py", "--until-end")
        for _ in range(3):
            one = shop.call("replay", "bench.py")
            two = shop.call("replay", "bench.py", "--workers", "2")
            seen.append(one / two)
    return told("replay in pieces by two processes, times one fold", statistics.median(seen), 1.6)


def joining(count: int) -> bool:
    """Time what a join adds to a start."""
    seen = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            shop.fill(examples(count))
            shop.call("run", "bench.py", "--until-end")
            shop.declare("v1", "v2")
            shop.call("backfill", "bench.py", "v2")
            joins = shop.call("run", "bench.py", "--until-end")
            seen.append(joins - shop.call("run", "bench.py", "--until-end"))
    return told("a join, beyond a start without one", statistics.median(seen), 2.0, "s", most=True)
