"""Parquet: columns that follow from the task alone, every kind of output, bounded memory."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from stream_app.codec.encode import encode_output
from stream_app.hosts.parquet_file import BLOCK_ROWS, GROUP_ROWS, parquet_rows, schema_of
from stream_app.learning.tasks import Binary, Multiclass, Regression, Task
from stream_app.outputs import (
    AnyOutput,
    DriftAlert,
    Evaluation,
    LabelCounts,
    MetricValue,
    ModelFailure,
    Prediction,
    Quantiles,
    Source,
    StateDigest,
)
from stream_app.records import Output
from tests.hosts.parquet import as_json

TASKS = (Binary(), Binary(positive="late", negative="on time"), Multiclass(), Regression())


def prediction(offset: int, predicted: Any, **more: Any) -> Prediction:
    """Return a prediction."""
    place = ("shop", "v1", Source("shop.events", 3, offset))
    return Prediction(f"{offset}", *place, 1_700_000_000_123, "k", "o1", 7, predicted, **more)


def others() -> Iterator[AnyOutput]:
    """Yield one of every other kind that a version puts out."""
    source, at = Source("shop.events", 3, 9), 1_700_000_000_123
    labels = LabelCounts(1, 2, 3, 4, 5, 6, 7, 8, 9)
    metrics = {"ROCAUC": MetricValue(0.1 + 0.2, None)}
    more = (labels, 0.5, Quantiles(1, 2))
    yield Evaluation("e", "shop", "v1", source, at, 1, 2, 3, 4, metrics, *more)
    yield Evaluation("e", "shop", "v1", source, at, 1, 2, 3, 4, {}, labels, None, None)
    yield StateDigest("s", "shop", source, at, 10, "c", "d", "v1")
    yield DriftAlert("a", "shop", source, at, "m", "ADWIN", "rise", 0.1, None, "alert", "v1")
    yield ModelFailure("f", "shop", "v1", source, at, "learn", "o1", "boom")


def written(task: Task, outputs: Sequence[AnyOutput]) -> tuple[arrow.Table, list[Any]]:
    """Return what a file of these outputs reads as, and their JSON."""
    file, values = io.BytesIO(), [encode_output(output) for output in outputs]
    with parquet_rows(file, task, "x.parquet") as write:
        for value in values:
            write(Output("shop.shadow.v1", None, value, ()))
    return parquet.read_table(file), [json.loads(value) for value in values]


@pytest.mark.parametrize(
    ("task", "predictions"),
    [
        (Binary(), [prediction(0, True, probability=0.1 + 0.2), prediction(1, False)]),
        (TASKS[1], [prediction(0, "late", probability=0.75), prediction(1, "on time")]),
        (Multiclass(), [prediction(0, "sky", probabilities={"sea": 0.1, "sky": 0.9})]),
        (Regression(), [prediction(0, 12.25), prediction(1, -1e15)]),
    ],
)
def test_every_kind_of_output_reads_back_as_its_json(
    task: Task, predictions: list[AnyOutput]
) -> None:
    untrained = prediction(2, None, null_reason="untrained", meta=msgspec.Raw(b'{"a": [1, 2.50]}'))
    table, lines = written(task, [*predictions, untrained, *others()])
    assert [as_json(row) for row in table.to_pylist()] == lines
    assert table.column("meta")[len(predictions)].as_py() == '{"a": [1, 2.50]}'


@pytest.mark.parametrize("task", TASKS)
def test_the_columns_do_not_depend_on_the_rows(task: Task) -> None:
    nothing, _ = written(task, [])
    nulls, _ = written(task, [prediction(0, None)])
    everything, _ = written(task, list(others()))
    assert nothing.schema == nulls.schema == everything.schema
    assert all(field.type != arrow.null() for field in nothing.schema)


def test_a_class_that_is_no_text_is_kept_as_text() -> None:
    """Some models say 0 before they have learned any class."""
    table, _ = written(Multiclass(), [prediction(0, 0), prediction(1, False)])
    assert table.column("prediction").to_pylist() == ["0", "false"]


class Counted(io.RawIOBase):
    """Counts what is written and keeps none of it."""

    written = 0

    def writable(self) -> bool:
        return True

    def write(self, what: Any) -> int:
        self.written += len(what)
        return len(what)


def test_memory_stays_bounded_however_many_rows_there_are() -> None:
    def peak_of(rows: int) -> int:
        before, peak = arrow.total_allocated_bytes(), 0
        with parquet_rows(Counted(), Binary(), "x.parquet") as write:  # type: ignore[arg-type]
            for offset in range(rows):
                value = encode_output(prediction(offset, True, probability=offset / rows))
                write(Output("shop.shadow.v1", None, value, ()))
                if offset % BLOCK_ROWS == 0:
                    peak = max(peak, arrow.total_allocated_bytes() - before)
        return peak

    assert peak_of(GROUP_ROWS * 3) < 1.2 * peak_of(GROUP_ROWS)


def test_a_row_group_is_written_as_soon_as_it_is_full() -> None:
    file = io.BytesIO()
    with parquet_rows(file, Regression(), "x.parquet") as write:
        value = encode_output(prediction(0, 1.5))
        for _ in range(GROUP_ROWS + 1):
            write(Output("shop.shadow.v1", None, value, ()))
        assert file.tell() > 1000
    groups = parquet.ParquetFile(file).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [GROUP_ROWS, 1]


def test_the_documentation_lists_the_columns_in_the_order_of_the_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "versions.md").read_text()
    listed = page.partition("come in this order: ")[2].partition(". ")[0]
    assert re.findall(r"`(\w+)`", listed) == schema_of(Binary()).names
