"""Streaming online learning whose state is a fold of one log: what pipeline authors import.

Names are looked up when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_app.codec.limits import Limits
    from stream_app.codec.mapping import RecordPart
    from stream_app.core.drift_monitors import DriftMonitor
    from stream_app.core.intake import Intake
    from stream_app.core.keeping import Keep
    from stream_app.core.pipeline import Labels, Pipeline, Version
    from stream_app.core.promote_when import PromoteWhen
    from stream_app.events import Label, Observation
    from stream_app.hosts.client import open_log
    from stream_app.hosts.model_loading import load_model
    from stream_app.hosts.packing import pack_model
    from stream_app.learning.tasks import Binary, Multiclass, Regression

__all__ = [
    "Binary",
    "DriftMonitor",
    "Intake",
    "Keep",
    "Label",
    "Labels",
    "Limits",
    "Multiclass",
    "Observation",
    "Pipeline",
    "PromoteWhen",
    "RecordPart",
    "Regression",
    "Version",
    "load_model",
    "open_log",
    "pack_model",
]

_HOMES = {
    "Binary": "learning.tasks",
    "DriftMonitor": "core.drift_monitors",
    "Intake": "core.intake",
    "Keep": "core.keeping",
    "Label": "events",
    "Labels": "core.pipeline",
    "Limits": "codec.limits",
    "Multiclass": "learning.tasks",
    "Observation": "events",
    "Pipeline": "core.pipeline",
    "PromoteWhen": "core.promote_when",
    "RecordPart": "codec.mapping",
    "Regression": "learning.tasks",
    "Version": "core.pipeline",
    "load_model": "hosts.model_loading",
    "open_log": "hosts.client",
    "pack_model": "hosts.packing",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
