"""Every setting that can change state or an output, as plain data that the log can carry."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream_app.codec.limits import Count, Limits
from stream_app.core.feature_types import FeatureKind

ModelPer = Literal["pipeline", "partition", "key"]


class MonitorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert-only drift monitor: its name, what it watches, and its described detector."""

    name: str
    watches: str
    detector: Any


class AcceptanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides which records are events and which labels join."""

    task: dict[str, str]
    features: dict[str, FeatureKind] | None
    wait_ms: Count
    model_per: ModelPer
    limits: Limits


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a version has to show before it may become champion: see `core/promote_when.py`."""

    metric: str
    margin: float
    labels_min: Count


class ReportingSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What is reported, and how often; no part of a version's fold.

    What was added later has a default and is left out of the log as long as it has that.
    """

    metrics: dict[str, Any]
    evaluate_every: Count
    digest_every: Count
    monitors: list[MonitorSettings]
    promote_when: GateSettings | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a pipeline that are in force at a position."""

    acceptance: AcceptanceSettings
    reporting: ReportingSettings

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


# On import, see core/commit.py; whatever is made for a type makes it known.
msgspec.json.Decoder(Settings)


def read_settings(plain: object) -> Settings:
    """Return the settings that `Settings.plain` gave; raises `msgspec.ValidationError`."""
    return msgspec.convert(plain, Settings)


def canonical_json(value: object) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces."""
    return msgspec.json.encode(value, order="sorted")


def differences(old: Settings, new: Settings) -> list[tuple[str, str, str]]:
    """Return (path, old value, new value) of every setting that differs, as JSON texts."""
    return list(_differences("", old.plain(), new.plain()))


def fixed_changes(old: Settings, new: Settings) -> list[tuple[str, str, str]]:
    """Return what differs of that which never changes in a pipeline.

    Another task, or another number of models, is another pipeline.
    """
    return [row for row in differences(old, new) if row[0].startswith(_FIXED)]


_FIXED = ("acceptance.task", "acceptance.model_per")


def _differences(path: str, old: Any, new: Any) -> list[tuple[str, str, str]]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        rows = []
        for name in sorted({*old, *new}):
            inner = f"{path}.{name}" if path else name
            rows += _differences(inner, old.get(name), new.get(name))
        return rows
    return [(path, canonical_json(old).decode(), canonical_json(new).decode())]
