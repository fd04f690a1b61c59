"""What the demo leaves behind, in a few lines: figures, places, and what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from stream_app.cli import stdout
from stream_app.core.topics import Topics
from stream_app.hosts.demo import DemoPlan
from stream_app.hosts.demo_base_rate import ROC_AUC
from stream_app.hosts.demo_figures import Figures, VersionFigures
from stream_app.outputs import DriftAlert

_NEW_YORK = ZoneInfo("America/New_York")
_BAD, _DIM, _HEAD = "red", "dim", "bold"


def say(lines: Iterable[Text | str]) -> None:
    """Print lines: with style on a terminal, plain elsewhere."""
    if sys.stdout.isatty():
        console = Console(highlight=False, soft_wrap=True)
        for line in lines:
            console.print(line, markup=False)
        return
    for line in lines:
        stdout.emit(line if isinstance(line, str) else line.plain)
    stdout.flush()


def when(ts_ms: int) -> str:
    """Return an event time as New York's clocks showed it."""
    return f"{datetime.fromtimestamp(ts_ms / 1000, _NEW_YORK):%a %d %b %Y %H:%M}"


def program() -> list[str]:
    """Return the words that start this very program from the present directory."""
    found = shutil.which("stream-app")
    beside = Path(sys.executable).parent / "stream-app"
    if found is not None and (not beside.exists() or Path(found).samefile(beside)):
        return ["stream-app"]
    if not beside.exists():
        return [sys.executable, "-m", "stream_app"]
    relative = os.path.relpath(beside)
    return [str(beside) if relative.startswith("..") else relative]


def alert_text(alert: DriftAlert) -> str:
    """Say what a drift alert means."""
    change = "rose" if alert.direction == "rise" else "fell"
    version = alert.version if isinstance(alert.version, str) else None
    if version is not None:
        what = f"{version} is wrong more often"
        amounts = f"{_share(alert.before)} -> {_share(alert.after)}"
    else:
        what = f"{alert.monitor.removeprefix('feature:')} {change}"
        amounts = f"{_mean(alert.before)} -> {_mean(alert.after)}"
    return f"{what}: {amounts} ({alert.detector})"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"


def _mean(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"


def summary(plan: DemoPlan, figures: Figures | None, seconds: float) -> list[Text | str]:
    """Return the lines of the summary; none when nothing was learned yet."""
    if figures is None or figures.commit is None:
        return []
    commit = figures.commit
    counters = commit.counters
    return [
        "",
        Text(f"The flights of New York until {when(commit.watermark_ms)}", _HEAD),
        f"{counters['records']:,} events are learned; this run took {seconds:.0f} s. "
        f"Drift alerts: {figures.alerts_fired}.",
        f"Labels: {counters['labels_joined']:,} joined, {commit.waiting:,} waiting, "
        f"{counters['timed_out']:,} timed out.",
        "",
        *_table(figures),
        "",
        *_places(plan),
        "",
        *_next_commands(plan, figures),
    ]


def _table(figures: Figures) -> list[Text | str]:
    rows: list[Text | str] = [
        Text(f"{'Late or not?':<26}{'ROC AUC':>9}{'log loss':>10}   against no skill", _DIM)
    ]
    base = figures.base.log_loss
    scored = 0
    for name, version in figures.versions.items():
        role = " (champion)" if name == figures.champion else ""
        auc, loss = newest(version, "ROCAUC"), newest(version, "LogLoss")
        better = "" if base is None or loss is None else f"{_better(loss, base)}"
        rows.append(f"{name + role:<26}{_figure(auc):>9}{_figure(loss):>10}   {better}")
        if version.evaluations:
            scored = version.evaluations[-1].learned
    rows.append(f"{'no skill (base rate only)':<26}{ROC_AUC:>9.4f}{_figure(base):>10}")
    rows.append(
        Text(f"Over {scored:,} flights, each predicted at departure, learned after landing.", _DIM)
    )
    return rows


def newest(version: VersionFigures, metric: str) -> float | None:
    """Return a version's metric since the beginning, at its newest evaluation."""
    totals = version.totals(metric)
    return totals[-1] if totals else None


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _better(loss: float, base: float) -> str:
    share = 1 - loss / base
    return f"{abs(share):.0%} {'less' if share >= 0 else 'MORE'} loss"


def _places(plan: DemoPlan) -> list[Text | str]:
    log = plan.directory / "log.db"
    size = sum(path.stat().st_size for path in (log, log.with_name("log.db-wal")) if path.exists())
    return [
        f"log     {log} ({size / 1e6:,.0f} MB): all events and outputs",
        f"state   {plan.state}: the models, rebuilt from the log if lost",
        f"models  {plan.pipeline}: the pipeline, yours to read and to edit",
    ]


def next_commands(plan: DemoPlan, pipeline: str) -> list[tuple[list[str], str]]:
    """Return (words of a command, what it does) of three commands to try on the demo's log."""
    start = program()
    broker = ["--broker", plan.broker.removeprefix("sqlite:///")]  # a path does, and fits a line
    alerts = Topics(pipeline).drift_alerts
    return [
        (
            [*start, "replay", str(plan.pipeline), *broker],
            "learn it all again from the log: every output must come out the same",
        ),
        (
            [*start, "status", pipeline, *broker, "--state", str(plan.state)],
            "where the pipeline stands",
        ),
        ([*start, "consume", alerts, *broker], "what a downstream app reads, as JSON lines"),
    ]


def _next_commands(plan: DemoPlan, figures: Figures) -> list[Text | str]:
    lines: list[Text | str] = [Text("Try next", _HEAD)]
    for words, what in next_commands(plan, figures.pipeline):
        lines += [f"  {shlex.join(words)}", Text(f"      {what}", _DIM)]
    if plan.days is not None:
        lines.append(Text("More flights: the demo again with --days 180, or --all.", _DIM))
    return lines
