"""Rows of a Parquet file as the JSON lines that they stand for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What JSON writes as null is in the lines; every other column of a row without value is not.
NULLS = {
    "prediction": {"prediction"},
    "evaluation": {"join_rate", "label_delay_ms"},
    "drift_alert": {"before", "after"},
}


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as its line says it."""
    nulls = NULLS.get(row["kind"], set())
    said = {name: what for name, what in row.items() if what is not None or name in nulls}
    said["source"] = {part: said.pop(f"source_{part}") for part in ("topic", "partition", "offset")}
    said["ts_ms"] = (said.pop("ts") - EPOCH) // timedelta(milliseconds=1)
    for name in ("metrics", "probabilities"):
        if name in said:
            said[name] = dict(said[name])
    if "meta" in said:
        said["meta"] = json.loads(said["meta"])
    return said
