"""Events as they come in: their wire forms, and what the gate makes of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream_app.events import Feature, LabelValue

# Raw bytes cannot be "or None" to msgspec, so absence has a value of its own.
NO_META: Final = msgspec.Raw()
UNDECLARED: Final = -1


class IncomingObservation(
    msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="observation"
):
    """An observation's wire form."""

    id: str
    ts_ms: int
    features: dict[str, bool | int | float | str | None]
    key: str | None = None
    label: bool | int | float | str | None = None
    meta: msgspec.Raw = NO_META


class IncomingLabel(
    msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="label"
):
    """A label's wire form."""

    id: str
    ts_ms: int
    label: bool | int | float | str
    key: str | None = None


class IncomingControl(
    msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="control"
):
    """A control's wire form; fields that an action has no use for stay None."""

    id: str
    ts_ms: int
    action: str
    version: str | None = None
    reason: str | None = None
    by: str | None = None
    settings: dict[str, object] | None = None
    public_keys: dict[str, object] | None = None
    environment: dict[str, object] | None = None
    file: dict[str, object] | None = None
    sig: str | None = None


class Admitted(msgspec.Struct, gc=False):
    """An event that passed the gate.

    `features` are in canonical (sorted) order. `schema` is the gate's number when they are among
    the declared ones, and `UNDECLARED` when there are others too; `dropped` tells how many
    undeclared ones were left out for their type or size.
    """

    event: Any
    key: str
    features: dict[str, Feature]
    label: LabelValue | None
    schema: int = UNDECLARED
    dropped: int = 0
