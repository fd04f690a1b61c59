"""Acceptance without versions: which observations were accepted, and which label each one got.

For who looks at published predictions: the same fold as live, with nobody who predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stream_app.codec.incoming import IncomingControl, IncomingLabel
from stream_app.core.acceptance import Acceptance
from stream_app.core.authority import Authority, Keys
from stream_app.core.commit import Commit, Manifest
from stream_app.core.controls import require_fixed, require_form
from stream_app.core.settings import Settings, read_settings
from stream_app.core.store import NothingSaved
from stream_app.errors import StreamAppError
from stream_app.events import Feature, LabelValue, Refusal
from stream_app.learning.definition import OtherCode, build
from stream_app.learning.metric_checks import require_metric
from stream_app.learning.monitors import require_detector
from stream_app.records import Record

# What waits for a label needs no features here: whoever wants them takes them when it is observed.
_NO_FEATURES: dict[str, Feature] = {}
COMPARED = (
    "observations",
    "labels_joined",
    "labels_early",
    "labels_late",
    "labels_unknown",
    "labels_duplicate",
    "labels_conflicting",
    "timed_out",
)


class Observed(msgspec.Struct, frozen=True, gc=False):
    """An accepted observation; `label` where it came with it or before it."""

    seq: int
    offset: int
    observation_id: str
    ts_ms: int
    key: str
    features: dict[str, Feature]
    label: LabelValue | None


class Labelled(msgspec.Struct, frozen=True, gc=False):
    """The label of an observation that has waited for it."""

    seq: int
    label: LabelValue


class Joins:
    """One partition's acceptance, from its origin on; `since` when it begins later than that.

    After each `process`, `expired` are the sequence numbers that wait no longer.
    """

    def __init__(
        self,
        manifest: Manifest,
        since: int,
        *,
        known: Mapping[str, object],
        settings: Settings | None = None,
        keys: Keys | None = None,
    ) -> None:
        self._known = known
        self._settings = manifest.first_settings() if settings is None else settings
        self._authority = Authority(manifest.pipeline, manifest.log_id, manifest.public_keys, keys)
        self.acceptance = Acceptance(self._settings.acceptance, since, NothingSaved())
        self._controls: set[str] = set()
        self.expired: list[int] = []

    @property
    def now_ms(self) -> int:
        """Event time, as of the newest record."""
        return self.acceptance.watermark.now_ms

    def process(self, record: Record) -> Observed | Labelled | None:
        """Fold one record; returns what it accepted or joined, if anything."""
        if self.expired:
            self.expired = []
        try:
            return self._apply(record)
        except Refusal:
            return None

    def _apply(self, record: Record) -> Observed | Labelled | None:
        acceptance = self.acceptance
        admitted = acceptance.gate.decode(record)
        event: Any = admitted.event
        kind = type(event)
        if kind is IncomingControl:
            self._control(event, record)
            return None
        found: Observed | Labelled | None = None
        if kind is IncomingLabel:
            joined = acceptance.label(admitted, record)
            if joined is not None:
                found = Labelled(joined.seq, joined.label)
        else:
            key, features = admitted.key, admitted.features
            admitted.features = _NO_FEATURES
            seq, label, _ = acceptance.observe(admitted, record)
            found = Observed(seq, record.offset, event.id, event.ts_ms, key, features, label)
        expired = acceptance.pass_time(event.ts_ms)
        if expired:
            self.expired.extend(expired)
        return found

    def _control(self, event: IncomingControl, record: Record) -> None:
        """Obey what changes acceptance; who is champion, say, does not."""
        acted = event.id in self._controls
        self._authority.check(event, record, acted=acted)
        if acted:
            return
        require_form(event)
        if event.action == "settings":
            self._change_settings(event, record)
        elif event.action == "time":
            self.expired.extend(self.acceptance.set_time(event.ts_ms))
        elif event.action == "key":
            self._authority.change(event)
        self._controls.add(event.id)

    def _change_settings(self, event: IncomingControl, record: Record) -> None:
        try:
            settings = read_settings(event.settings)
            self._require_usable(settings)
        except (msgspec.MsgspecError, StreamAppError, TypeError, ValueError) as error:
            raise Refusal("bad_settings", "settings", str(error)[:300]) from None
        self._settings = settings
        self.acceptance.change(settings.acceptance, record.offset + 1)

    def _require_usable(self, settings: Settings) -> None:
        """Raise for what the fold refuses as a whole; users' own code was there when it did not."""
        require_fixed(self._settings, settings)
        reporting = settings.reporting
        for name, tree in reporting.metrics.items():
            self._build(tree, f"metrics.{name}", require_metric)
        for monitor in reporting.monitors:
            self._build(monitor.detector, f"drift.{monitor.name}", require_detector)

    def _build(self, tree: Any, path: str, require: Any) -> None:
        try:
            require(path, build(tree, self._known, path=path))
        except OtherCode:
            return

    def difference(self, commit: Commit) -> tuple[str, int, int] | None:
        """Return (what, counted here, counted live) where they differ at the committed position."""
        here = msgspec.to_builtins(self.acceptance.counters)
        for name in COMPARED:
            live = commit.counters.get(name, 0)
            if here[name] != live:
                return name, here[name], live
        if self.now_ms != commit.watermark_ms:
            return "event time", self.now_ms, commit.watermark_ms
        return None


def joins_from(
    manifest: Manifest,
    partition: int,
    start: int,
    commit: Commit | None,
    known: Mapping[str, object],
) -> Joins:
    """Return the fold that begins at `start`, the partition's origin or where retention has cut.

    Behind a cut nobody knows which settings were in force; the committed ones are taken if they
    held there already, else the first ones.
    """
    if start <= manifest.origins[partition] or commit is None:
        return Joins(manifest, start, known=known)
    settings = read_settings(commit.settings) if commit.settings_since <= start else None
    keys = None if isinstance(commit.keys, msgspec.UnsetType) else commit.keys
    return Joins(manifest, start, known=known, settings=settings, keys=keys)
