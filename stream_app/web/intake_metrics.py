"""Prometheus' view of an intake worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from stream_app.web.board import Board
from stream_app.web.figures import SourceReport
from stream_app.web.metrics import PREFIX, build_info, states

_LABELS = ("pipeline", "partition")


class _Figure(NamedTuple):
    name: str
    help: str
    read: Callable[[SourceReport], float]


# Counted in the position itself, since the source's beginning: a restart does not begin at 0.
COUNTERS = (
    _Figure("copied", "Events made of a source's records.", lambda r: r.copied),
    _Figure("refused", "Copies of a source that could not be mapped.", lambda r: r.refused),
    _Figure("skipped", "Records of a source that no mapping was for.", lambda r: r.skipped),
)
GAUGES = (
    _Figure("next_offset", "First offset of a source not yet copied.", lambda r: r.next_offset),
    _Figure("end_offset", "First offset that the source has not given yet.", lambda r: r.end),
    _Figure("lag_records", "Records still to be copied.", lambda r: r.end - r.next_offset),
)


def intake_registry_of(board: Board[SourceReport]) -> CollectorRegistry:
    """Return a registry of its own with everything that is exported about `board`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_IntakeCollector(board))
    return registry


class _IntakeCollector(Collector):
    """Reads the board whenever somebody scrapes; `partition` is `topic/number` of the source."""

    def __init__(self, board: Board[SourceReport]) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Yield every family, also those that have no samples yet."""
        rows = self._board.rows() or []
        pipeline = self._board.pipeline or ""
        yield build_info()
        yield from states(pipeline, rows)
        for kind, figures in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
            for figure in figures:
                family = kind(f"{PREFIX}intake_{figure.name}", figure.help, labels=_LABELS)
                for row in rows:
                    if row.report is not None:
                        labels = (pipeline, str(row.partition))
                        family.add_metric(labels, figure.read(row.report))
                yield family
