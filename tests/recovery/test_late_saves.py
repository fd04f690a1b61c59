"""An image may be saved while the next records are learned; what it holds stays readable."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import msgspec
import pytest

from stream_app.core.memory import Memory
from stream_app.core.pipeline import Labels, Pipeline
from stream_app.core.position import read_position
from stream_app.core.processor import PartitionProcessor
from stream_app.core.recovery import recover
from stream_app.core.rehearsal import SEAL, rehearsal_manifest
from stream_app.core.store import Image
from stream_app.core.table import Table
from stream_app.events import Label, Observation
from stream_app.outputs import StateDigest
from stream_app.records import Output, Record
from stream_app.storage.memory_store import MemoryStore
from stream_app.testing import Driver
from tests.recovery.pipelines import PIPELINES
from tests.recovery.storms import records


def _records(pipeline: Pipeline) -> list[Record]:
    rows = records(500, keyed=pipeline.model_per == "key")
    topic = f"{pipeline.name}.events"
    now_ms = 1_357_100_000_000
    return [Record(topic, 0, n, now_ms, row.key, row.value) for n, row in enumerate(rows)]


def _processor(pipeline: Pipeline, store: MemoryStore) -> PartitionProcessor:
    manifest = rehearsal_manifest(pipeline, {})
    start = recover(manifest, 0, pipeline, None, None, 0).start
    if (saved := read_position(store)) is not None:
        start = msgspec.structs.replace(start, position=saved, publish_from=saved.next_offset)
    return PartitionProcessor(
        manifest,
        0,
        start,
        pipeline.plans(),
        store,
        seal=SEAL,
        known=pipeline.known,
        memory=Memory(live_max=2, rest_bytes_max=0),
    )


def _fold(pipeline: Pipeline, rows: list[Record], late: int) -> tuple[list[Output], MemoryStore]:
    """Fold in batches of 50 and take an image after each, saved only `late` batches afterwards."""
    store = MemoryStore()
    processor = _processor(pipeline, store)
    outputs: list[Output] = []
    waiting: list[Image] = []
    for begin in range(0, len(rows), 50):
        outputs += processor.process(rows[begin : begin + 50]).outputs
        # One image at a time: the next one is taken when the last one is in the store.
        if not waiting:
            waiting = [processor.image()]
            left = late
        elif left > 1:
            left -= 1
        else:
            store.save(waiting.pop())
            processor.saved()
    return outputs, store


@pytest.mark.parametrize("name", PIPELINES)
def test_what_is_learned_while_an_image_is_on_its_way_to_the_disk_is_the_same(name: str) -> None:
    """Between the image and its save the store does not have it, and memory no longer needs to."""
    pipeline = PIPELINES[name]
    rows = _records(pipeline)
    at_once, _ = _fold(pipeline, rows, 0)
    late, _ = _fold(pipeline, rows, 3)
    assert late == at_once


@pytest.mark.parametrize("name", PIPELINES)
def test_an_image_stands_for_its_own_position_though_it_is_saved_late(name: str) -> None:
    pipeline = PIPELINES[name]
    rows = _records(pipeline)
    expected, _ = _fold(pipeline, rows, 0)
    _, store = _fold(pipeline, rows[:-300], 2)
    again = _processor(pipeline, store)
    begin = again.next_offset
    assert 0 < begin < len(rows)
    outputs = again.process(rows[begin:]).outputs
    assert outputs == expected[len(expected) - len(outputs) :]
    assert len(outputs) > 50


def test_a_state_digest_does_not_depend_on_when_the_last_one_was_taken() -> None:
    """A life that learns again in silence takes none; predicting may change a model as well."""
    one, other = Driver(_sparse()), Driver(_sparse())
    with closing(one), closing(other):
        for driver, crashes in ((one, False), (other, True)):
            driver.send(Observation("a", 0, {"wind": 1.0}, key="k116", label=True))
            driver.send(*_filler(0, 10))
            if crashes:
                driver.crash()
            driver.send(Observation("b", 1, {"wind": 1.0, "rare": 2.0}, key="k116"))
            driver.send(*_filler(10, 20))
        assert one.outputs() == other.outputs()
        assert len([row for row in one.outputs() if isinstance(row, StateDigest)]) == 4


def _sparse() -> Pipeline:
    pipeline = PIPELINES["by_key"]
    return Pipeline(
        "sparse",
        task=pipeline.task,
        versions=dict(list(pipeline.versions.items())[:1]),
        model_per="key",
        labels=Labels(wait=timedelta(days=1)),
        digest_every=10,
    )


def _filler(begin: int, end: int) -> list[Observation | Label]:
    return [Observation(f"f{n}", 2, {"wind": 0.0}, key="k1") for n in range(begin, end)]


def test_a_row_that_an_image_carried_away_is_found_before_it_is_saved() -> None:
    """Nothing is kept in memory here but what the store cannot have yet."""
    store = MemoryStore()
    table = Table[str](store, "f", b"r", str.encode, bytes.decode, cached_max=0)
    for number in range(3):
        table.add(number, f"row {number}")
    first: dict[bytes, bytes | None] = {}
    table.collect(first)
    assert table.pop(0) == "row 0"
    assert table.pop(0) is None
    store.save(Image(1, {"f": first}))
    table.saved()
    assert table.pop(1) == "row 1"
    second: dict[bytes, bytes | None] = {}
    table.collect(second)
    # On its way to the disk, too, is that two of them are gone.
    assert [table.pop(number) for number in range(3)] == [None, None, "row 2"]
