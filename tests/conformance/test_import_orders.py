"""What becomes of the orders by which a version begins from a file, on every log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from river import linear_model

from stream_app import pack_model
from stream_app.codec.encode import encode_event
from stream_app.codec.signatures import public_key
from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline, Version
from stream_app.core.rehearsal import SEAL
from stream_app.errors import LogBusy, UsageError
from stream_app.events import Observation
from stream_app.hosts.backfills import parts
from stream_app.hosts.controls import Signer, new_control, to_every_partition
from stream_app.hosts.explaining import Explanation, explain
from stream_app.hosts.import_orders import import_orders
from stream_app.hosts.importing import Imported, import_file
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.prediction_search import published_at
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import KEY_NAME, StateDirectory
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics, wanted_topics
from stream_app.learning.tasks import Binary
from stream_app.storage.memory_store import MemoryStore
from stream_app.storage.sqlite_log import SqliteLog

PARTITIONS = 2
DAY_MS = 24 * 3600 * 1000
FIRST, SECOND = (Signer(name, bytes([i]) * 32) for i, name in enumerate([KEY_NAME, "k2"]))
# A broker shows the end of a transaction a moment after it has acknowledged it.
SHOWN_WITHIN_S = 0.1

pipeline = Pipeline(
    "p",
    task=Binary(),
    features={"a": float},
    labels=None,
    model_per="partition",
    versions={
        "v1": Version(linear_model.LogisticRegression()),
        "tuned": Version(linear_model.LogisticRegression(), start="file"),
    },
    initial_champion="v1",
    metrics={},
)


class World(NamedTuple):
    """A pipeline of two partitions in a log, and two files that fit one of its versions."""

    log: Log
    manifest: Manifest
    state: StateDirectory
    one: Path
    other: Path

    def imports(
        self, path: Path, signer: Callable[[], Signer] = lambda: FIRST, *, ahead_ms: int = 0
    ) -> Imported:
        """Import a file, by a clock that stands ahead or not."""
        ts_ms = time.time_ns() // 1_000_000 + ahead_ms
        place = (self.log, pipeline, self.manifest, self.state)
        return import_file(*place, signer, "tuned", path, ts_ms=ts_ms)

    def live(self, *versions: str) -> list[dict[str, int]]:
        """Process all there is; return what each partition's versions have learned."""
        rows = []
        for partition in range(PARTITIONS):
            with closing(self._host(partition, versions)) as host:
                while host.relearning or self.log.wait(
                    "p.events", partition, host.next_offset, SHOWN_WITHIN_S
                ):
                    host.step()
                assert host.commit is not None
                rows.append(host.commit.learned)
        return rows

    def _host(self, partition: int, versions: tuple[str, ...]) -> PartitionHost:
        return PartitionHost(
            self.log,
            pipeline,
            self.manifest,
            partition,
            open_store=MemoryStore,
            seal=SEAL,
            versions=versions or None,
        )

    def observe(self, name: str = "o") -> list[tuple[int, int]]:
        """Append an observation to each partition, such as o-1 to partition 1; returns places."""
        rows = []
        for partition in range(PARTITIONS):
            observation = Observation(
                f"{name}-{partition}", time.time_ns() // 1_000_000, {"a": 1.0}, "x"
            )
            rows.append(msgspec.structs.replace(encode_event(observation), partition=partition))
        return self.log.append("p.events", rows)

    def explained(self, which: str, version: str) -> Explanation:
        """Explain a prediction."""
        found = explain(self.log, pipeline, self.manifest, self.state, which, version=version)
        assert isinstance(found, Explanation)
        return found

    def refusals(self, places: dict[int, int]) -> list[str]:
        """Return why records were refused, in the order of their partitions."""
        found = []
        for partition, offset in sorted(places.items()):
            rows = published_at(self.log, "p.dead-letters", partition, offset)
            found += [msgspec.json.decode(row.value)["reason"] for row in rows or []]
        return found


@pytest.fixture(params=["sqlite", "kafka"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    state = StateDirectory(tmp_path / "state")
    with closing(_log(request, tmp_path)) as log:
        keys = {KEY_NAME: public_key(FIRST.private_key).hex()}
        manifest = register(log, pipeline, lambda: keys, partitions=PARTITIONS)
        files = [tmp_path / name for name in ("one", "other")]
        for learned, path in enumerate(files, 5):
            model: Any = pipeline.untrained("tuned")
            for _ in range(learned):
                model.learn_one({"a": 1.0}, True)
            options: Any = {"task": Binary(), "learned": learned, "state": str(state.root)}
            pack_model(model, path, **options)
        yield World(log, manifest, state, *files)


def _log(request: pytest.FixtureRequest, root: Path) -> Log:
    if request.param == "sqlite":
        return SqliteLog.open(root / "log.db", create=True)
    connection: Connection = request.getfixturevalue("connection")
    specs = wanted_topics("p", pipeline.versions, PARTITIONS, imports=True)
    create_topics(connection, specs, replication=1)
    return KafkaLog(connection)


def test_an_order_of_a_clock_that_stood_ahead_is_given_anew_and_only_once(world: World) -> None:
    first = world.imports(world.one, ahead_ms=3 * DAY_MS)
    assert world.live() == [{"v1": 0, "tuned": 0}] * PARTITIONS
    assert world.refusals(first.places) == ["time_too_far_ahead"] * PARTITIONS
    again = world.imports(world.one)
    assert (again.changed, again.refused) == (True, first.places)
    assert not world.imports(world.one).changed  # the order is there, and still to be read
    assert world.live() == [{"v1": 0, "tuned": 5}] * PARTITIONS
    third = world.imports(world.one)
    assert (third.changed, third.refused, third.places) == (False, {}, again.places)


def test_another_file_may_take_the_place_of_one_that_every_partition_has_refused(
    world: World,
) -> None:
    world.imports(world.one, ahead_ms=3 * DAY_MS)
    with pytest.raises(UsageError, match="begins from another file") as caught:
        world.imports(world.other)
    assert "once stream-app run has read the other one's order" in caught.value.attempt
    world.live()
    assert world.imports(world.other).changed
    with pytest.raises(UsageError, match="begins from another file"):
        world.imports(world.one)
    assert world.live() == [{"v1": 0, "tuned": 6}] * PARTITIONS


def test_of_two_who_take_the_place_of_a_refused_order_at_once_one_is_told(world: World) -> None:
    world.imports(world.one, ahead_ms=3 * DAY_MS)
    world.live()

    def meanwhile() -> Signer:
        world.imports(world.other)
        return FIRST

    with pytest.raises(LogBusy, match="somebody else"):
        world.imports(world.one, meanwhile)
    assert world.live() == [{"v1": 0, "tuned": 6}] * PARTITIONS


def test_who_sleeps_before_giving_a_refused_order_again_does_not_wake_to_another_file(
    world: World,
) -> None:
    asked = 0

    def slow() -> Signer:
        nonlocal asked
        asked += 1
        if asked == 1:
            rotated(world, *range(PARTITIONS))
            return FIRST
        world.live()  # all have refused what the revoked key has signed
        world.imports(world.other, lambda: SECOND)
        return SECOND

    with pytest.raises(LogBusy, match="somebody else"):
        world.imports(world.one, slow)
    assert world.live() == [{"v1": 0, "tuned": 6}] * PARTITIONS


def rotated(world: World, *partitions: int) -> None:
    """Put the second key in the first one's place, in some partitions alone."""
    keys = {SECOND.name: public_key(SECOND.private_key).hex(), FIRST.name: None}
    control = FIRST.signed(new_control("key", None, public_keys=keys), world.manifest)
    rows = to_every_partition(control, world.manifest)
    world.log.append("p.events", [row for row in rows if row.partition in partitions])


def test_each_partition_is_told_by_the_order_that_acted_there(world: World) -> None:
    """As when a key control comes between: before the order in one partition, behind in another."""
    rotated(world, 1)
    first = world.imports(world.one)
    world.observe()
    assert world.live() == [{"v1": 0, "tuned": 5}, {"v1": 0, "tuned": 0}]
    rotated(world, 0)
    with pytest.raises(UsageError, match="begins from another file"):
        world.imports(world.other, lambda: SECOND)
    second = world.imports(world.one, lambda: SECOND)
    assert second.refused == {1: first.places[1]}
    assert second.places[0] == first.places[0]
    assert second.places[1] > first.places[1]
    assert world.live() == [{"v1": 0, "tuned": 5}] * PARTITIONS
    assert import_orders(world.log, world.manifest, "tuned").places == second.places


def test_a_backfill_begins_its_outputs_behind_the_order_that_acted(world: World) -> None:
    world.observe()
    world.live("v1")
    refused = world.imports(world.one, ahead_ms=3 * DAY_MS)
    world.observe()
    world.live("v1")
    with pytest.raises(UsageError, match="no file to begin from: its order at p") as caught:
        parts(world.log, pipeline, world.manifest, "tuned")
    assert caught.value.attempt.startswith("stream-app import FILE tuned MODEL")
    acted = world.imports(world.one)
    assert acted.refused == refused.places
    world.observe()
    world.live("v1")
    begins = {p.partition: p.begin for p in parts(world.log, pipeline, world.manifest, "tuned")}
    assert begins == {partition: at + 1 for partition, at in acted.places.items()}


def test_predictions_of_another_partition_are_explained_by_position_and_id(world: World) -> None:
    world.observe()  # so that an offset means other records in the two partitions
    before = dict(world.observe("before"))[1]
    rotated(world, 0)
    world.imports(world.one)
    after = dict(world.observe("after"))[1]
    world.live()
    for version, learned in (("v1", 0), ("tuned", 5)):
        for which in (
            f"1@{after}",
            f"p.events/1@{after}",
            "after-1",
            f"p/{version}/1@{after}/prediction",
        ):
            found = world.explained(which, version)
            assert (found.position, found.observation_id) == (f"p.events/1@{after}", "after-1")
            assert (found.recomputed.learned, found.same) == (learned, "equal")
    waited = world.explained(f"1@{before}", "tuned")
    assert (waited.observation_id, waited.recomputed.null_reason) == ("before-1", "untrained")
    assert "predicts nothing until" in waited.notes[0]
    refused = world.explained("after-0", "tuned")
    assert (refused.recomputed.null_reason, refused.same) == ("untrained", "equal")
    with pytest.raises(UsageError, match="p has no partition 2"):
        world.explained("2@0", "tuned")
