"""Values to bytes: events for producers, outputs for everybody downstream."""

from __future__ import annotations

import math

import msgspec

from stream_app.errors import UsageError
from stream_app.events import Control, Event, Observation
from stream_app.outputs import AnyOutput
from stream_app.records import NewRecord

_events = msgspec.json.Encoder(order="deterministic")
_outputs = msgspec.json.Encoder()


def encode_event(event: Event) -> NewRecord:
    """Return the record that carries `event`; its key is the event's key, by default its id.

    Raises `UsageError` for a feature or label that is no finite number: JSON would turn it into
    null without a word.
    """
    if isinstance(event, Control):
        return NewRecord(None, _events.encode(event))
    if isinstance(event, Observation):
        for name, value in event.features.items():
            _check_finite(event, f"features.{name}", value)
    _check_finite(event, "label", event.label)
    key = event.key if event.key is not None else event.id
    try:
        return NewRecord(key.encode(), _events.encode(event))
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"event {event.id!r} cannot be written as JSON: {error}",
            attempt="plain numbers, booleans and strings as features, label and meta",
        ) from None


def encode_output(output: AnyOutput) -> bytes:
    """Return an output's JSON bytes; equal outputs give equal bytes."""
    return _outputs.encode(output)


def _check_finite(event: Event, field: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            f"event {event.id!r}: {field} is {value}, which JSON has no way to write",
            attempt="leave the feature out, or send null, when its value is not known",
        )
