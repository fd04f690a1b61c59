"""What a version says of an observation, and what its calls cause beside that."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from stream_app.learning.monitors import Firing, Monitor

NullReason = Literal["untrained", "model_raised", "failed"]


class Said(msgspec.Struct, frozen=True, gc=False):
    """One prediction as it is published."""

    prediction: object
    probability: object
    null_reason: str | None
    learned: int


class Fired(NamedTuple):
    """A monitor that fired."""

    monitor: Monitor
    firing: Firing
    action: str


class Failure(NamedTuple):
    """A call that raised and was undone."""

    call: str
    detail: str
