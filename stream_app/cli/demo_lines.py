"""The demo where there is no terminal: a plain line every few seconds, and one for each alert."""

from __future__ import annotations

import time

from stream_app.cli import stdout
from stream_app.cli.demo_summary import alert_text, newest, when
from stream_app.hosts.demo import DemoPlan
from stream_app.hosts.demo_figures import Figures

EVERY_S = 2.0


class DemoLines:
    """Writes lines to standard output as the demo goes on."""

    def __init__(self, plan: DemoPlan) -> None:
        stdout.emit(f"The flights of New York 2013 go into {plan.broker}")
        stdout.flush()
        self._said_at = time.monotonic()
        self._alerts_said: int | None = None

    def show(self, figures: Figures | None, notes: list[str]) -> None:
        """Say what is new."""
        for note in notes:
            stdout.emit(f"Note: {note}.")
        if figures is not None and figures.commit is not None:
            self._say_alerts(figures)
            now = time.monotonic()
            if now - self._said_at >= EVERY_S and figures.caught_up:
                self._said_at = now
                stdout.emit(_line(figures))
        stdout.flush()

    def _say_alerts(self, figures: Figures) -> None:
        """Say the alerts that fired since this run began."""
        fired = figures.alerts_fired
        if self._alerts_said is not None and fired > self._alerts_said:
            new = list(figures.alerts)[self._alerts_said - fired :]
            for alert in new:
                stdout.emit(f"{when(alert.ts_ms)}  drift: {alert_text(alert)}")
        self._alerts_said = fired


def _line(figures: Figures) -> str:
    commit = figures.commit
    assert commit is not None  # noqa: S101 - its caller looked
    speed = figures.records_pace.per_second()
    words = [
        when(commit.watermark_ms),
        *([f"{speed:,.0f} events/s"] if speed else []),
        f"labels {commit.counters['labels_joined']:,} joined, {commit.waiting:,} waiting, "
        f"{commit.counters['timed_out']:,} timed out",
    ]
    for name, version in figures.versions.items():
        auc, loss = newest(version, "ROCAUC"), newest(version, "LogLoss")
        if auc is not None and loss is not None:
            words.append(f"{name} AUC {auc:.4f} loss {loss:.4f}")
    return "  ".join(words)
