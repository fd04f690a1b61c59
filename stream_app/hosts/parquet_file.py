"""Outputs as a Parquet file: a row for each, a column for every field that any of them has.

The columns follow from what outputs are (`outputs.py`) and from the pipeline's task, never from the
rows that happen to come first.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

import msgspec
from msgspec import inspect

from stream_app.errors import UsageError
from stream_app.learning.tasks import Binary, Regression, Task
from stream_app.outputs import DriftAlert, Evaluation, ModelFailure, Prediction, StateDigest
from stream_app.records import Output

# What a fold of one version puts out: dead letters are acceptance's.
_KINDS: Final = (Prediction, Evaluation, StateDigest, DriftAlert, ModelFailure)
# Rows are kept as Arrow's columns until there are so many: some 20 MB, and a good size to read.
GROUP_ROWS: Final = 50_000
BLOCK_ROWS: Final = 5_000


def require_pyarrow(name: str) -> types.ModuleType:
    """Return pyarrow with its Parquet part; raises `UsageError` for a `name` where it is absent."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{name}: {error.name} is not installed, which Parquet needs",
            attempt="pip install 'stream-app[parquet]', or a name that ends in .jsonl",
        ) from None
    module: types.ModuleType = pyarrow
    return module


def schema_of(task: Task) -> Any:
    """Return the columns of a pipeline's outputs, as an Arrow schema."""
    arrow = require_pyarrow("a schema")
    columns: dict[str, Any] = {"kind": arrow.string()}
    for kind in _KINDS:
        for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]
            if field.encode_name not in columns:
                columns |= _columns(arrow, field, task)
    return arrow.schema(list(columns.items()))


def _columns(arrow: Any, field: inspect.Field, task: Task) -> dict[str, Any]:
    if field.encode_name == "source":
        names = {f"source_{part.encode_name}": part.type for part in field.type.fields}  # type: ignore[attr-defined]
        return {name: _arrow_type(arrow, kind) for name, kind in names.items()}
    if field.encode_name == "ts_ms":
        return {"ts": arrow.timestamp("ms", tz="UTC")}
    if field.encode_name == "prediction":
        return {"prediction": _predicted(arrow, task)}
    return {field.encode_name: _arrow_type(arrow, field.type)}


def _predicted(arrow: Any, task: Task) -> Any:
    """Return the type of what a task's models predict."""
    if isinstance(task, Regression):
        return arrow.float64()
    plain = isinstance(task, Binary) and task.positive is None
    return arrow.bool_() if plain else arrow.string()


def _arrow_type(arrow: Any, kind: inspect.Type) -> Any:
    match kind:
        case inspect.UnionType(types=(one, inspect.NoneType())):
            return _arrow_type(arrow, one)
        case inspect.DictType(value_type=value):
            return arrow.map_(arrow.string(), _arrow_type(arrow, value))
        case inspect.StructType(fields=fields):
            return arrow.struct(
                [(each.encode_name, _arrow_type(arrow, each.type)) for each in fields]
            )
        case inspect.IntType():
            return arrow.int64()
        case inspect.FloatType():
            return arrow.float64()
        case inspect.StrType() | inspect.LiteralType() | inspect.RawType():
            return arrow.string()
    raise AssertionError(f"{kind} has no column's type yet")


class _Meta(msgspec.Struct):
    """What an event carried along, as it was written."""

    meta: msgspec.Raw


_meta = msgspec.json.Decoder(_Meta).decode


@contextmanager
def parquet_rows(file: IO[bytes], task: Task, name: str) -> Iterator[Callable[[Output], None]]:
    """Yield what takes outputs into an open `file`, a row group at a time.

    The footer, without which nobody reads the file, ends it. Raises `UsageError` without pyarrow.
    """
    rows = _Rows(require_pyarrow(name), file, task)
    try:
        yield rows.write
        rows.flush()
        rows.writer.close()
    except BaseException:
        with suppress(Exception):  # left to the garbage collector it would complain later on
            rows.writer.close()
        raise


class _Rows:
    """Outputs on their way into a file: rows first, columns of a block, then a row group."""

    def __init__(self, arrow: Any, file: IO[bytes], task: Task) -> None:
        self._arrow = arrow
        self._schema = schema_of(task)
        self._as_text = self._schema.field("prediction").type == arrow.string()
        self._rows: list[dict[str, Any]] = []
        self._blocks: list[Any] = []
        self.writer = arrow.parquet.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, output: Output) -> None:
        self._rows.append(self._row(output.value))
        if len(self._rows) >= BLOCK_ROWS:
            self._pack()
            if len(self._blocks) * BLOCK_ROWS >= GROUP_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write what is there as a row group."""
        self._pack()
        if self._blocks:
            table = self._arrow.Table.from_batches(self._blocks, schema=self._schema)
            self.writer.write_table(table, row_group_size=table.num_rows)
            self._blocks = []

    def _pack(self) -> None:
        """Turn rows into columns, which take a tenth of the memory."""
        if self._rows:
            block = self._arrow.RecordBatch.from_pylist(self._rows, schema=self._schema)
            self._blocks.append(block)
            self._rows = []

    def _row(self, value: bytes) -> dict[str, Any]:
        row: dict[str, Any] = msgspec.json.decode(value)
        row |= {f"source_{part}": what for part, what in row.pop("source").items()}
        row["ts"] = row.pop("ts_ms")
        for name in ("metrics", "probabilities"):
            if name in row:
                row[name] = list(row[name].items())
        if "meta" in row:
            row["meta"] = bytes(_meta(value).meta).decode()
        if self._as_text:
            row["prediction"] = _text(row.get("prediction"))
        return row


def _text(predicted: Any) -> str | None:
    """Return a class as text: a model that has learned nothing may say 0 or false for one."""
    if predicted is None or isinstance(predicted, str):
        return predicted
    return msgspec.json.encode(predicted).decode()
