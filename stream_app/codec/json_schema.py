"""JSON Schemas of every record that goes in or comes out, made from the structs themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from stream_app import events, outputs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENTS = (events.Observation, events.Label, events.Control)
OUTPUTS = (
    outputs.Prediction,
    outputs.Evaluation,
    outputs.StateDigest,
    outputs.DriftAlert,
    outputs.DeadLetter,
    outputs.ModelFailure,
)
_REFERENCES = "#/$defs/{name}"


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return a self-contained schema (JSON Schema 2020-12) by kind of record.

    An event with a field that its schema does not list is refused; an output may gain fields in
    a later release, so readers must ignore what they do not know.
    """
    schemas = {}
    for kind in (*EVENTS, *OUTPUTS):
        schema = _schema(kind)
        if kind in EVENTS:
            schema["additionalProperties"] = False
        if "meta" in schema["properties"]:
            schema["properties"]["meta"] = _meta(nullable=kind in EVENTS)
        schemas[_kind(schema)] = schema
    return schemas


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return a schema as its file has it."""
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2)
    return text.decode() + "\n"


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        (kind,), schema_hook=_anything, ref_template=_REFERENCES
    )
    own = components.pop(kind.__name__)
    name = own["properties"]["kind"]["enum"][0]
    schema = {"$schema": DIALECT, "$id": f"urn:stream-app:schema:{name}", **own}
    if components:
        schema["$defs"] = dict(sorted(components.items()))
    _flow(schema)
    return schema


def _anything(kind: type) -> dict[str, Any]:
    if kind is object:
        return {"description": "Any JSON value."}  # an empty schema would be taken for none
    raise NotImplementedError


def _kind(schema: Mapping[str, Any]) -> str:
    name: str = schema["properties"]["kind"]["enum"][0]
    return name


def _meta(*, nullable: bool) -> dict[str, Any]:
    described = {"description": "Small and free; echoed in the prediction."}
    if nullable:
        return {**described, "type": ["object", "null"], "default": None}
    return {**described, "type": "object"}


def _flow(node: Any) -> None:
    """Make a docstring's line breaks, which come at a source file's width, plain text again."""
    if isinstance(node, dict):
        text = node.get("description")
        if isinstance(text, str):
            paragraphs = re.split(r"\n\s*\n", text)
            node["description"] = "\n\n".join(" ".join(p.split()) for p in paragraphs)
        for value in node.values():
            _flow(value)
    elif isinstance(node, list):
        for value in node:
            _flow(value)
