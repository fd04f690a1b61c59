"""Floods: whatever comes in whatever numbers, what a host keeps is bounded by the declaration.

What Python holds is compared after many events and after three times as many; the state itself is
in RocksDB, whose memory has bounds of its own.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from river import linear_model, metrics, preprocessing

from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.rehearsal import SEAL, any_time
from stream_app.events import Event, Label, Observation
from stream_app.hosts.checkpoint_pace import Pace
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.learning.tasks import Binary
from stream_app.records import NewRecord
from stream_app.storage.rocksdb_store import RocksdbStore
from stream_app.storage.sqlite_log import SqliteLog

T0 = 1_357_000_000_000
BATCH = 512
MANY = 4_096  # ids are forgotten 1,024 at a time: both looks are at the same moment between two
GREW_MAX = 80_000  # bytes; of 8,192 events not even 10 each
LIMITS = Limits(ids_max=2_000, early_max=200)
Feed = Iterator[NewRecord]


class Flooded:
    """A host that is given events, and what Python holds of them."""

    def __init__(self, folder: Path, limits: Limits = LIMITS, **declared: Any) -> None:
        pipeline = Pipeline(
            "p",
            task=Binary(),
            features={"a": float, "b": float},
            labels=Labels(wait=timedelta(days=300)),
            limits=limits,
            metrics=metrics.LogLoss(),
            versions={
                "v1": Version(preprocessing.StandardScaler() | linear_model.LogisticRegression())
            },
            **declared,
        )
        self._log = SqliteLog.open(folder / "log.db", create=True)
        settings = any_time(pipeline.settings())
        manifest = register(self._log, pipeline, dict, settings=settings)
        self.host = PartitionHost(
            self._log,
            pipeline,
            manifest,
            0,
            open_store=lambda: RocksdbStore.open(folder / "state"),
            seal=SEAL,
            pace=Pace(every_s=1e9),
            memory=Memory(live_max=50, rest_bytes_max=30_000),
        )

    def take(self, feed: Feed, count: int) -> None:
        for _ in range(0, count, BATCH):
            self._log.append("p.events", list(islice(feed, BATCH)))
            while self.host.step():
                pass
            self.host.checkpoint()

    def grown(self, feed: Feed, many: int = MANY) -> int:
        """Return how many bytes more it holds after three times as many events."""
        tracemalloc.start()
        try:
            self.take(feed, many)
            held = _held()
            self.take(feed, 2 * many)
            return _held() - held
        finally:
            tracemalloc.stop()

    def close(self) -> None:
        self.host.close()
        self._log.close()


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def flooded(tmp_path: Path) -> Iterator[Callable[..., Flooded]]:
    opened: list[Flooded] = []

    def make(**declared: Any) -> Flooded:
        opened.append(Flooded(tmp_path, **declared))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def _records(events: Iterator[Event]) -> Feed:
    return map(encode_event, events)


def _numbers() -> Iterator[int]:
    yield from range(1 << 40)


def _features(i: int) -> dict[str, Any]:
    return {"a": float(i % 7), "b": float(i % 11)}


def test_observations_whose_labels_never_come_wait_up_to_the_bound(
    flooded: Callable[..., Flooded],
) -> None:
    host = flooded()
    # Event time stands still, so that only the number of ids lets them go.
    feed = _records(Observation(f"id-{i}", T0, _features(i), key="k") for i in _numbers())
    assert host.grown(feed) < GREW_MAX
    assert host.host.processor.acceptance.ids.waiting <= LIMITS.ids_max + 1024


def test_ids_that_are_new_all_the_time_are_forgotten_beyond_the_bound(
    flooded: Callable[..., Flooded],
) -> None:
    feed = _records(
        Observation(f"id-{i}", T0 + i, _features(i), key="k", label=True) for i in _numbers()
    )
    assert flooded().grown(feed) < GREW_MAX


def test_labels_that_come_before_their_observation_are_kept_up_to_the_bound(
    flooded: Callable[..., Flooded],
) -> None:
    host = flooded()
    feed = _records(Label(f"id-{i}", T0 + i, True, key="k") for i in _numbers())
    assert host.grown(feed) < GREW_MAX
    assert len(host.host.processor.acceptance.early) <= LIMITS.early_max + 4


def test_records_that_are_no_events_leave_nothing_behind(flooded: Callable[..., Flooded]) -> None:
    feed = (NewRecord(b"k", b'{"kind": "observation", "id": "id-%d' % i) for i in _numbers())
    host = flooded()
    assert host.grown(feed) < GREW_MAX
    assert host.host.processor.acceptance.counters.dead_letters == 3 * MANY


def test_undeclared_features_under_ever_new_names_leave_nothing_behind(
    flooded: Callable[..., Flooded],
) -> None:
    feed = _records(
        Observation(f"id-{i}", T0 + i, {**_features(i), f"new-{i}": 1.0}, key="k", label=True)
        for i in _numbers()
    )
    assert flooded().grown(feed) < GREW_MAX


def test_a_key_that_is_not_at_hand_costs_memory_for_its_sampled_digest_alone(
    flooded: Callable[..., Flooded],
) -> None:
    feed = _records(
        Observation(f"id-{i}", T0 + i, _features(i), key=f"key-{i}", label=True) for i in _numbers()
    )
    # One key in 64 has a digest; and whether a key is sampled is remembered of some thousands.
    few = flooded(model_per="key", limits=Limits(ids_max=500))
    assert few.grown(feed, 1_024) < GREW_MAX + 2_048 * 150
