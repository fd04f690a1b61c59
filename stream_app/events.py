"""What goes in: observations, labels and controls, one record each; and why one is refused."""

from __future__ import annotations

import msgspec

Feature = bool | int | float | str
LabelValue = bool | int | float | str


class Observation(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="observation"
):
    """Wants a prediction, and one label later (or `label` with it).

    `ts_ms` is event time in Unix milliseconds. `key` decides the partition and defaults to `id`;
    an observation and its label share it. `meta` is small, free and echoed in the prediction.
    """

    id: str
    ts_ms: int
    features: dict[str, Feature | None]
    key: str | None = None
    label: LabelValue | None = None
    meta: dict[str, object] | None = None


class Label(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="label"):
    """Answers the observation with the same `id`; `ts_ms` is when the answer became known."""

    id: str
    ts_ms: int
    label: LabelValue
    key: str | None = None


class Control(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="control"):
    """A signed order to the fold itself; goes to every partition and acts once in each.

    `public_keys` is for the action `key`: names with a public key (hex) to add, null to revoke.
    `environment` is for the action of that name: the libraries that state is carried over to.
    `file` is for the action `import`: which file the version begins from (core/importing.py).
    """

    id: str
    ts_ms: int
    action: str
    version: str | None = None
    reason: str | None = None
    by: str | None = None
    settings: dict[str, object] | None = None
    public_keys: dict[str, str | None] | None = None
    environment: dict[str, str] | None = None
    file: dict[str, object] | None = None
    sig: str | None = None


Event = Observation | Label | Control


class Refusal(Exception):
    """Bad data: becomes exactly one dead letter, and the models stay untouched."""

    def __init__(self, reason: str, field: str | None, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.detail = detail
