"""Asks the declared gate before a version becomes champion."""

from __future__ import annotations

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.core.settings import GateSettings
from stream_app.counted import counted
from stream_app.errors import GateClosed
from stream_app.hosts.bounds import Progress
from stream_app.hosts.comparing import compare
from stream_app.hosts.comparison import Comparison, better_by, verdict
from stream_app.hosts.manifests import commits, settings_in_force
from stream_app.hosts.promoting import champions
from stream_app.learning.paired import MetricFigures


def gate_of(log: Log, manifest: Manifest, version: str) -> GateSettings | None:
    """Return the gate that a version has to pass; None without one, and for a way back."""
    gate = settings_in_force(log, manifest).reporting.promote_when
    return None if gate is None or _was_champion(log, manifest, version) else gate


def _was_champion(log: Log, manifest: Manifest, version: str) -> bool:
    """Tell whether a version has been champion everywhere before, and may be again.

    One that was seated at a committed position (`promote --from-committed`) passed no gate.
    """
    for commit in commits(log, manifest):
        before = (
            [] if commit is None else [c.champion for c in commit.seats if not (c.refused or c.sig)]
        )
        if version not in (manifest.initial_champion, *before):
            return False
    return True


def require_better(
    log: Log,
    pipeline: Pipeline | None,
    manifest: Manifest,
    gate: GateSettings,
    version: str,
    progress: Progress | None = None,
) -> str:
    """Return what the gate's metric shows; raises `GateClosed` unless it is good enough.

    The champion is that of the first partition where another one holds the seat.
    """
    champion = next(name for name in champions(log, manifest) if name != version)
    found = compare(log, pipeline, manifest, champion, version, progress=progress)
    figures = _require(gate, found, champion, version)
    shows = verdict(figures, champion, version, found.counted.compared)
    return f"{shows}; the gate wants at least {gate.margin:g}"


def _require(gate: GateSettings, found: Comparison, champion: str, version: str) -> MetricFigures:
    compared = found.counted.compared
    attempt = (
        f"stream-app compare {found.pipeline} {champion} {version} shows all of it; the gate is "
        "promote_when in the pipeline's file, which stream-app apply changes"
    )
    if compared < gate.labels_min:
        raise GateClosed(
            f"{version} was compared with {champion} on {counted(compared, 'labelled event')}, and "
            f"the gate of {found.pipeline} wants {gate.labels_min:,}.",
            attempt=attempt,
        )
    figures = {figures.name: figures for figures in found.metrics}.get(gate.metric)
    better = None if figures is None else better_by(figures)
    if figures is None or better is None or better[1] < gate.margin:
        shown = "cannot be said" if better is None else f"is {better[1]:+.4f} to {better[2]:+.4f}"
        raise GateClosed(
            f"{version} is not surely better than {champion}: the difference in {gate.metric} "
            f"{shown} (95 % interval, better is positive), and the gate of {found.pipeline} wants "
            f"at least {gate.margin:g}.",
            attempt=attempt,
        )
    return figures
