"""What is reported and is no part of a version's fold: metrics and alert-only monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream_app.codec.blobs import BlobSeal
from stream_app.core.acceptance import FAMILY
from stream_app.core.said import Fired
from stream_app.core.settings import ReportingSettings
from stream_app.core.store import StateReader
from stream_app.learning.definition import build
from stream_app.learning.metric_checks import require_metric
from stream_app.learning.monitors import Monitor, require_detector
from stream_app.learning.pickles import ModelPickles
from stream_app.learning.prequential import Prequential


class Reporting:
    """Builds metrics and monitors from settings; holds the feature monitors' state."""

    def __init__(self, known: Mapping[str, object], seal: BlobSeal, context: str) -> None:
        self._known = known
        self._pickles = ModelPickles(known)
        self._seal = seal
        self._context = f"{context}/feature monitors".encode()
        self._features: list[Monitor] = []

    def change(self, settings: ReportingSettings) -> None:
        """Put other settings into force; reporting state starts empty there."""
        metrics = {
            name: require_metric(
                f"metrics.{name}", build(tree, self._known, path=f"metrics.{name}")
            )
            for name, tree in settings.metrics.items()
        }
        monitors = self._build(settings)
        # Nothing is in force before everything could be built.
        self._settings, self._metrics = settings, metrics
        self._features = [monitor for monitor in monitors if monitor.watches != "error"]

    def _build(self, settings: ReportingSettings) -> list[Monitor]:
        monitors = []
        for declared in settings.monitors:
            path = f"drift.{declared.name}"
            detector = require_detector(path, build(declared.detector, self._known, path=path))
            monitors.append(Monitor(declared.name, declared.watches, detector))
        return monitors

    @property
    def watches_features(self) -> bool:
        """Whether there are feature monitors."""
        return bool(self._features)

    @property
    def feature_monitors(self) -> list[Monitor]:
        """The feature monitors; for reading."""
        return self._features

    def prequential(self) -> Prequential:
        """Return an empty evaluation."""
        return Prequential(self._metrics)

    def error_monitors(self) -> list[Monitor]:
        """Return fresh alert-only monitors of a version's error."""
        return [monitor for monitor in self._build(self._settings) if monitor.watches == "error"]

    def watch(self, features: Mapping[str, Any]) -> list[Fired]:
        """Show an accepted observation's features to their monitors; returns what fired."""
        fired = []
        for monitor in self._features:
            value = features.get(monitor.feature)
            if type(value) is float or type(value) is int:
                firing = monitor.update(value)
                if firing is not None:
                    fired.append(Fired(monitor, firing, "alert"))
        return fired

    def collect(self, writes: dict[bytes, bytes | None]) -> None:
        """Hand the feature monitors' state to a checkpoint."""
        if self._features:
            blob = self._pickles.dumps([monitor.state() for monitor in self._features])
            writes[b"r"] = self._seal.seal(self._context, blob)

    def load(self, reader: StateReader) -> None:
        """Take back what `collect` handed out."""
        blob = reader.get(FAMILY, b"r")
        if blob is not None and self._features:
            states: Any = self._pickles.loads(self._seal.open(self._context, blob))
            self._features = [Monitor.of(state) for state in states]
