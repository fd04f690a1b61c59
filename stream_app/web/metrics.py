"""Prometheus' view of the board: made anew for every scrape, so that it cannot go stale apart."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version as installed
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from stream_app.core.commit import Commit
from stream_app.records import Place
from stream_app.web.board import LIVE, Board, Row
from stream_app.web.figures import BOUNDS_S, Durations, Report

PREFIX = "stream_app_"
_PARTITION = ("pipeline", "partition")
_VERSION = (*_PARTITION, "version")
_METRIC = (*_VERSION, "metric")


class _Figure(NamedTuple):
    """One number of a partition; None is left out of the scrape."""

    name: str
    help: str
    read: Callable[[Report], float | None]


class _Times(NamedTuple):
    """One histogram of a partition."""

    name: str
    help: str
    read: Callable[[Report], Durations]


class _OfVersions(NamedTuple):
    """One number of every version of a partition."""

    name: str
    help: str
    read: Callable[[Commit], dict[str, float]]


def _counter(key: str) -> Callable[[Report], float | None]:
    return lambda report: None if report.commit is None else report.commit.counters.get(key)


# Counted by the fold itself, since the partition's origin: a restart does not begin at 0 again.
_FOLD_COUNTERS = (
    ("records", "records", "Records processed and committed."),
    ("observations", "observations", "Observations accepted."),
    ("dead_letters", "dead_letters", "Records refused."),
    ("labels_joined", "labels_joined", "Labels that met their observation."),
    ("labels_timed_out", "timed_out", "Observations whose label did not come in time."),
    ("labels_late", "labels_late", "Labels that came after their observation had timed out."),
    ("labels_unknown", "labels_unknown", "Labels whose observation never came."),
    ("labels_early", "labels_early", "Labels that came before their observation."),
    ("labels_duplicate", "labels_duplicate", "Labels that came again."),
    ("labels_conflicting", "labels_conflicting", "Labels that contradict an earlier one."),
    ("features_dropped", "features_dropped", "Undeclared features left out for their type."),
    ("keys_differ", "keys_differ", "Records whose key is not their event's."),
    ("misplaced", "misplaced", "Records whose key belongs into another partition."),
)

COUNTERS = (
    *(_Figure(name, text, _counter(key)) for name, key, text in _FOLD_COUNTERS),
    _Figure("outputs", "Outputs published by this process.", lambda r: r.work.outputs),
    _Figure("restores", "Starts that had to learn again.", lambda r: r.work.restores),
    _Figure("relearned_records", "Records learned again.", lambda r: r.work.relearned),
)

GAUGES = (
    _Figure("next_offset", "First offset not yet processed.", lambda r: r.next_offset),
    _Figure("end_offset", "First offset that the log has not given yet.", lambda r: r.end),
    _Figure("lag_records", "Records still to be processed.", lambda r: r.end - r.next_offset),
    _Figure(
        "relearn_remaining_records",
        "Records still to be learned again before the partition is live.",
        lambda r: max(0, r.committed - r.next_offset),
    ),
    _Figure(
        "labels_waiting",
        "Observations that wait for their label.",
        lambda r: None if r.commit is None else r.commit.waiting,
    ),
    _Figure(
        "labels_early_waiting",
        "Early labels that wait for their observation.",
        lambda r: None if r.commit is None else r.commit.early_waiting,
    ),
    _Figure(
        "event_time_seconds",
        "Event time, in seconds since 1970.",
        lambda r: None if r.commit is None else r.commit.watermark_ms / 1000,
    ),
    _Figure(
        "checkpoint_age_seconds",
        "How long the oldest change has been in no checkpoint; 0 when all is in one.",
        lambda r: _age_s(r.work.unsaved_since_s),
    ),
    _Figure(
        "checkpoint_timestamp_seconds",
        "When the newest checkpoint was saved, in seconds since 1970.",
        lambda r: r.work.saved_at_s,
    ),
    _Figure(
        "checkpoint_next_offset",
        "Where the newest checkpoint stands.",
        lambda r: r.work.saved_offset,
    ),
    _Figure(
        "checkpoint_bytes",
        "What the partition's saved state takes on disk.",
        lambda r: r.work.saved_bytes,
    ),
)

TIMES = (
    _Times("learn_seconds", "Predicting and learning, per batch.", lambda r: r.work.learn),
    _Times("commit_seconds", "Publishing and committing, per batch.", lambda r: r.work.commit),
    _Times(
        "checkpoint_seconds", "Dumping and saving, per checkpoint.", lambda r: r.work.checkpoint
    ),
)

VERSION_COUNTERS = (
    _OfVersions("learned", "Examples that a version has learned.", lambda c: dict(c.learned)),
)
VERSION_GAUGES = (
    _OfVersions(
        "version_failed",
        "Whether a version has failed for good.",
        lambda c: {name: float(name in c.failed) for name in c.versions},
    ),
    _OfVersions(
        "version_champion",
        "Whether a version's predictions are the ones downstream reads.",
        lambda c: {name: float(name == c.seat.champion) for name in c.versions},
    ),
)


def registry_of(board: Board[Report]) -> CollectorRegistry:
    """Return a registry of its own with everything that is exported about `board`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_BoardCollector(board))
    return registry


class _BoardCollector(Collector):
    """Reads the board whenever somebody scrapes."""

    def __init__(self, board: Board[Report]) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Yield every family, also those that have no samples yet: their names are known."""
        rows = self._board.rows() or []
        pipeline = self._board.pipeline or ""
        reports = [row.report for row in rows if row.report is not None]
        commits = [(r.partition, r.commit) for r in reports if r.commit is not None]
        yield build_info()
        yield from states(pipeline, rows)
        yield from _figures(CounterMetricFamily, COUNTERS, pipeline, reports)
        yield from _figures(GaugeMetricFamily, GAUGES, pipeline, reports)
        yield from _histograms(pipeline, reports)
        yield from _versions(CounterMetricFamily, VERSION_COUNTERS, pipeline, commits)
        yield from _versions(GaugeMetricFamily, VERSION_GAUGES, pipeline, commits)
        yield from _prequential(pipeline, reports)


_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


def _age_s(since_s: float | None) -> float:
    return 0.0 if since_s is None else max(0.0, time.monotonic() - since_s)


def build_info() -> Metric:
    """Return what runs here."""
    labels = {
        "version": installed("stream-app"),
        "python": platform.python_version(),
        "river": installed("river"),
    }
    family = GaugeMetricFamily(f"{PREFIX}build_info", "What runs here.", labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def states(pipeline: str, rows: Iterable[Row[Any]]) -> Iterator[Metric]:
    """Yield whether each owned partition is live, and whether its loop still comes round."""
    ready = GaugeMetricFamily(
        f"{PREFIX}ready", "Whether an owned partition is live.", labels=_PARTITION
    )
    age = GaugeMetricFamily(
        f"{PREFIX}step_age_seconds",
        "How long ago the loop came round to the partition.",
        labels=_PARTITION,
    )
    for row in rows:
        labels = (pipeline, str(row.partition))
        ready.add_metric(labels, float(row.state == LIVE))
        if row.age_s is not None:
            age.add_metric(labels, row.age_s)
    yield ready
    yield age


def _figures(
    kind: _Family, figures: Iterable[_Figure], pipeline: str, reports: Iterable[Report]
) -> Iterator[Metric]:
    for figure in figures:
        family = kind(PREFIX + figure.name, figure.help, labels=_PARTITION)
        for report in reports:
            value = figure.read(report)
            if value is not None:
                family.add_metric((pipeline, str(report.partition)), value)
        yield family


def _histograms(pipeline: str, reports: Iterable[Report]) -> Iterator[Metric]:
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for times in TIMES:
        family = HistogramMetricFamily(PREFIX + times.name, times.help, labels=_PARTITION)
        for report in reports:
            durations = times.read(report)
            buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
            family.add_metric((pipeline, str(report.partition)), buckets, durations.sum_s)
        yield family


def _versions(
    kind: _Family,
    figures: Iterable[_OfVersions],
    pipeline: str,
    commits: Iterable[tuple[Place, Commit]],
) -> Iterator[Metric]:
    for figure in figures:
        family = kind(PREFIX + figure.name, figure.help, labels=_VERSION)
        for partition, commit in commits:
            for version, value in figure.read(commit).items():
                family.add_metric((pipeline, str(partition), version), value)
        yield family


def _prequential(pipeline: str, reports: Iterable[Report]) -> Iterator[Metric]:
    total = GaugeMetricFamily(
        f"{PREFIX}prequential", "A declared metric, since the beginning.", labels=_METRIC
    )
    window = GaugeMetricFamily(
        f"{PREFIX}prequential_window", "The same over the newest window.", labels=_METRIC
    )
    for report in reports:
        for version, evaluation in report.evaluations.items():
            for name, value in evaluation.metrics.items():
                labels = (pipeline, str(report.partition), version, name)
                if value.total is not None:
                    total.add_metric(labels, value.total)
                if value.window is not None:
                    window.add_metric(labels, value.window)
    yield total
    yield window
