"""Values to bytes: events for producers, outputs for everybody downstream."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from stream_app.errors import UsageError
from stream_app.events import Control, Event, Observation
from stream_app.outputs import AnyOutput
from stream_app.records import NewRecord

_events = msgspec.json.Encoder(order="deterministic")
# In the order that they were given: the first of the metrics judges.
_controls = msgspec.json.Encoder()


def encode_event(event: Event) -> NewRecord:
    """Return the record that carries `event`; its key is the event's key, by default its id.

    Raises `UsageError` for a feature or label, or a number in `meta`, that is not finite: JSON
    would turn it into null without a word.
    """
    if isinstance(event, Control):
        return NewRecord(None, _controls.encode(event))
    if isinstance(event, Observation):
        for name, value in event.features.items():
            _check_finite(event, f"features.{name}", value)
        if event.meta is not None:
            _check_deep(event, "meta", event.meta)
    _check_finite(event, "label", event.label)
    key = event.key if event.key is not None else event.id
    try:
        return NewRecord(key.encode(), _events.encode(event))
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"event {event.id!r} cannot be written as JSON: {error}",
            attempt="plain numbers, booleans and strings as features, label and meta",
        ) from None


encode_output: Callable[[AnyOutput], bytes] = msgspec.json.Encoder().encode
"""Return an output's JSON bytes; equal outputs give equal bytes."""


def _check_deep(event: Event, field: str, value: object) -> None:
    stack = [value]
    while stack:
        inner = stack.pop()
        _check_finite(event, field, inner)
        if isinstance(inner, dict):
            stack += inner.values()
        elif isinstance(inner, list | tuple):
            stack += inner


def _check_finite(event: Event, field: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            f"event {event.id!r}: {field} is {value}, which JSON has no way to write",
            attempt="leave it out, or send null, when its value is not known",
        )
