"""The checked-in schemas are those of this code, and real records keep to them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from river import drift, dummy, linear_model, preprocessing, stats

from stream_app import (
    Binary,
    DriftMonitor,
    Label,
    Multiclass,
    Observation,
    Pipeline,
    Regression,
    Version,
)
from stream_app.codec.encode import encode_event
from stream_app.codec.json_schema import json_schemas, schema_text
from stream_app.events import Control
from stream_app.testing import Driver

SCHEMAS = json_schemas()
DIRECTORY = Path(__file__).parents[2] / "schemas"


class Fragile(dummy.StatisticRegressor):
    """Raises when it meets a zero."""

    def learn_one(self, x: Any, y: Any) -> None:
        if x["x"] == 0.0:
            raise ZeroDivisionError("zero")
        super().learn_one(x, y)


def check(value: bytes) -> str:
    """Hold a record against the schema of its kind; return the kind."""
    document = json.loads(value)
    kind: str = document["kind"]
    jsonschema.Draft202012Validator(SCHEMAS[kind]).validate(document)
    return kind


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_each_schema_is_valid_says_what_it_is_and_names_no_host(kind: str) -> None:
    schema = SCHEMAS[kind]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:stream-app:schema:{kind}"
    assert schema["title"]
    assert schema["description"]


def test_the_schemas_of_the_repository_are_those_of_this_code() -> None:
    files = {path.stem: path.read_text("utf-8") for path in DIRECTORY.glob("*.json")}
    assert files == {kind: schema_text(schema) for kind, schema in SCHEMAS.items()}, (
        "stream-app schemas --write schemas"
    )


def test_all_that_a_run_puts_out_keeps_to_its_schema() -> None:
    pipeline = Pipeline(
        "run",
        task=Binary(),
        versions={
            "v1": Version(preprocessing.StandardScaler() | linear_model.LogisticRegression())
        },
        drift=[DriftMonitor("feature:x", drift.PageHinkley(threshold=1, min_instances=5))],
        evaluate_every=10,
        digest_every=10,
    )
    seen = set()
    with Driver(pipeline) as driver:
        for i in range(40):
            x = float(i % 3 if i < 20 else 50 + i)
            meta: dict[str, object] = {"trace": i}
            driver.send(Observation(f"o{i}", ts_ms=i, features={"x": x}, meta=meta))
            driver.send(Label(f"o{i}", ts_ms=i + 1, label=i % 2 == 0))
        driver.send_bytes(b"\xff")
        driver.send_bytes(b'{"kind": "label"}')
        driver.advance(timedelta(days=3))
        for name in ("predictions", "evaluations", "drift-alerts", "dead-letters"):
            for record in driver.log.read(f"run.{name}", 0, 0, records_max=1000):
                seen.add(check(record.value))
        for record in driver.log.read("run.events", 0, 0, records_max=1000):
            if b'"control"' in record.value:
                seen.add(check(record.value))
    kinds = {"prediction", "evaluation", "state_digest", "drift_alert", "dead_letter", "control"}
    assert seen == kinds


def test_probabilities_and_untrained_predictions_keep_to_the_schema() -> None:
    model = preprocessing.StandardScaler() | linear_model.SoftmaxRegression()
    pipeline = Pipeline("many", task=Multiclass(), versions={"v1": Version(model)})
    with Driver(pipeline) as driver:
        for i, label in enumerate(["sky", "grass", "sky"]):
            driver.send(Observation(f"o{i}", ts_ms=i, features={"x": float(i)}, label=label))
        for record in driver.log.read("many.predictions", 0, 0, records_max=10):
            check(record.value)
            last = json.loads(record.value)
    assert set(last["probabilities"]) == {"sky", "grass"}


def test_a_failed_call_keeps_to_its_schema() -> None:
    model = Fragile(stats.Mean())
    pipeline = Pipeline("fragile", task=Regression(), versions={"v1": Version(model)})
    with Driver(pipeline) as driver:
        driver.send(Observation("a", ts_ms=0, features={"x": 0.0}, label=1.0))
        [record] = driver.log.read("fragile.dead-letters", 0, 0, records_max=10)
    assert check(record.value) == "model_failure"


def test_events_as_clients_write_them_keep_to_their_schemas() -> None:
    meta: dict[str, object] = {"traceparent": "00-1"}
    observation = Observation("a", 1, {"x": 1.5, "y": None, "z": "w"}, key="k", meta=meta)
    for event in (observation, Label("a", 2, "sky"), Control("c", 3, "time", sig="ed25519:k1:x")):
        check(encode_event(event).value)


def test_a_misspelled_field_of_an_event_breaks_its_schema_as_it_breaks_the_gate() -> None:
    with pytest.raises(jsonschema.ValidationError, match="lable"):
        check(b'{"kind": "observation", "id": "a", "ts_ms": 1, "features": {}, "lable": 1}')
