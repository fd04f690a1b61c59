"""The demo's screen: one frame of fixed lines, drawn anew a few times a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from stream_app.cli.demo_summary import alert_text, newest, when
from stream_app.hosts.demo import DemoPlan
from stream_app.hosts.demo_base_rate import ROC_AUC
from stream_app.hosts.demo_figures import Figures
from stream_app.hosts.demo_producer import midnight_ms

BARS = " ▁▂▃▄▅▆▇█"
BARS_ASCII = " .:-=+*#@"
NAME_WIDTH = 11
FIGURE_WIDTH = 9
WIDTH_MIN, HEIGHT_MIN = 60, 16
YEAR_DAYS = 365
# Over so many evaluations a metric's total is compared to say where it goes.
TREND = 5


class DemoScreen:
    """The whole terminal while it is entered; what was there before comes back after."""

    def __init__(self, plan: DemoPlan) -> None:
        self._console = Console(highlight=False)
        self._live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._until_ms = midnight_ms(plan.days if plan.days is not None else YEAR_DAYS)
        self._notes: deque[str] = deque(maxlen=3)
        self._began = time.monotonic()

    def __enter__(self) -> DemoScreen:
        self._live.start()
        self.show(None, [])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, figures: Figures | None, notes: list[str]) -> None:
        """Draw a frame."""
        self._notes.extend(notes)
        width, height = self._console.size
        bars = BARS if self._console.encoding.startswith("utf") else BARS_ASCII
        if figures is None or figures.commit is None:
            frame: RenderableType = self._waiting()
        else:
            frame = _Frame(figures, self._until_ms, list(self._notes), width, height, bars).draw()
        self._live.update(frame, refresh=True)

    def _waiting(self) -> RenderableType:
        seconds = time.monotonic() - self._began
        dots = "." * (1 + int(seconds * 2) % 3)
        return Group(
            Text(" stream-app demo", "bold"),
            Text(),
            Text(f" unpacking the flights of 2013 and loading River {dots}", "dim"),
            *(Text(f" {note}", "yellow") for note in self._notes),
        )


class _Frame:
    """One frame: lines that fit `width` and `height` exactly."""

    def __init__(
        self,
        figures: Figures,
        until_ms: int,
        notes: Sequence[str],
        width: int,
        height: int,
        bars: str,
    ) -> None:
        self._figures = figures
        self._until_ms = until_ms
        self._notes = notes
        self._width = max(width, WIDTH_MIN)
        self._height = max(height, HEIGHT_MIN)
        self._bars = bars
        self._tall = 1 if height < 32 else 3

    def draw(self) -> RenderableType:
        lines = [
            *self._header(),
            Text(),
            *self._counts(),
            Text(),
            *self._versions(),
            *(Text(f" {note}", "yellow") for note in self._notes),
            Text(),
        ]
        lines += self._alerts(self._height - len(lines))
        for line in lines:
            line.rstrip()
            line.no_wrap = True
            line.overflow = "ellipsis"
            line.truncate(self._width)
        return Group(*lines[: self._height])

    def _header(self) -> list[Text]:
        commit = self._figures.commit
        assert commit is not None  # noqa: S101 - the screen looked
        reached_ms = commit.watermark_ms
        clock = f"{when(reached_ms)} "
        title = Text(" stream-app demo", "bold")
        title.append("  will this flight land late?", "dim")
        title.append(" " * max(1, self._width - len(title) - len(clock)))
        title.append(clock, "bold cyan")
        start_ms = midnight_ms(0)
        done = min(max((reached_ms - start_ms) / (self._until_ms - start_ms), 0.0), 1.0)
        left_s = self._left_s(reached_ms)
        eta = f" {done:4.0%}  {left_s // 60:.0f}:{left_s % 60:02.0f} left " if left_s else " "
        width = self._width - 2 - len(eta)
        full = round(done * width)
        bar = Text(" ").append("━" * full, "cyan").append("─" * (width - full), "dim")
        return [title, bar.append(eta)]

    def _left_s(self, reached_ms: int) -> int:
        speed = self._figures.time_pace.per_second()
        left_ms = self._until_ms - reached_ms
        return round(left_ms / speed) if speed > 0 and left_ms > 0 else 0

    def _counts(self) -> list[Text]:
        figures = self._figures
        commit = figures.commit
        assert commit is not None  # noqa: S101 - the screen looked
        counters = commit.counters
        events = _pairs(
            "events/s",
            f"{figures.records_pace.per_second():,.0f}",
            "learned",
            f"{counters['records']:,} events",
            "behind",
            f"{figures.end - commit.next_offset:,}",
        )
        labels = _pairs(
            "labels  ",
            f"{counters['labels_joined']:,} joined",
            "waiting",
            f"{commit.waiting:,}",
            "timed out",
            f"{counters['timed_out']:,}",
        )
        return [events, labels, self._newest()]

    def _newest(self) -> Text:
        newest_one = self._figures.newest
        line = Text(" newest     ", "dim")
        if newest_one is None or not isinstance(newest_one.probability, float):
            return line
        line.append(f"{newest_one.observation_id} ", "")
        line.append(f"{newest_one.probability:4.0%} late", "bold")
        line.append(f", says {newest_one.version} at departure", "dim")
        return line

    def _versions(self) -> list[Text]:
        figures = self._figures
        room = self._width - NAME_WIDTH - 2 * FIGURE_WIDTH - 6
        spark = max(room // 2, 8)
        head = Text(" " * (NAME_WIDTH + 2), "dim")
        wide = FIGURE_WIDTH + spark + 3
        titles = ("ROC AUC, higher is better", "log loss, lower is better")
        if wide <= len(titles[0]):
            titles = ("ROC AUC", "log loss")
        head.append(f"{titles[0]:<{wide}}")
        head.append(titles[1])
        rows = [head]
        scales = {metric: self._scale(metric, spark) for metric in ("ROCAUC", "LogLoss")}
        for name, version in figures.versions.items():
            champion = name == figures.champion
            cells = []
            for metric, sign in (("ROCAUC", 1), ("LogLoss", -1)):
                windows = version.windows(metric)[-spark:]
                cells.append(
                    _Cell(
                        newest(version, metric),
                        _trend(version.totals(metric)) * sign,
                        sign,
                        _bars(windows, *scales[metric], spark, self._tall, self._bars),
                    )
                )
            rows += self._row(f"{name} champion" if champion else name, champion, cells)
            if self._tall > 1:
                rows.append(Text())
        return [*rows, self._base_row(spark)]

    def _scale(self, metric: str, spark: int) -> tuple[float, float]:
        """One scale for all versions, so that their bars can be compared."""
        shown = [
            value
            for version in self._figures.versions.values()
            for value in version.windows(metric)[-spark:]
        ]
        return (min(shown), max(shown)) if shown else (0.0, 1.0)

    def _row(self, name: str, champion: bool, cells: Sequence[_Cell]) -> list[Text]:
        lines = []
        for i in range(self._tall):
            last = i == self._tall - 1
            line = Text(" ")
            line.append(f"{name if last else '':<{NAME_WIDTH + 1}}", "bold" if champion else "")
            for cell in cells:
                number = "-" if cell.value is None else f"{cell.value:.4f}"
                line.append(f"{number if last else '':<7}", "bold")
                line.append(f"{cell.arrow if last else ' '} ", cell.colour)
                line.append(cell.bars[i], "cyan" if champion else "blue")
                line.append("   ")
            lines.append(line)
        return lines

    def _base_row(self, spark: int) -> Text:
        base = self._figures.base.log_loss
        line = Text(f" {'no skill':<{NAME_WIDTH + 1}}{ROC_AUC:<7.4f}", "dim")
        line.append(" " * (spark + 5))
        return line.append("-" if base is None else f"{base:.4f}")

    def _alerts(self, room: int) -> list[Text]:
        figures = self._figures
        title = Text(" drift alerts", "bold").append(f"  {figures.alerts_fired} so far", "dim")
        lines = [title]
        for alert in list(figures.alerts)[::-1][: max(room - 1, 0)]:
            line = Text(f" {when(alert.ts_ms)}  ", "dim")
            lines.append(line.append(alert_text(alert), "yellow" if len(lines) < 2 else ""))
        return lines


class _Cell:
    """A metric of a version: its number, where it goes, and how its windows went."""

    def __init__(self, value: float | None, gain: float, sign: int, bars: list[str]) -> None:
        self.value = value
        self.bars = bars
        up = gain * sign > 0
        self.arrow = " " if gain == 0 else "▲" if up else "▼"
        self.colour = "green" if gain > 0 else "red"


def _pairs(*words: str) -> Text:
    """Set names dim and values bold, in columns."""
    line = Text(" ")
    for name, value in zip(words[::2], words[1::2], strict=True):
        line.append(f"{name}  ", "dim").append(f"{value:<18}", "bold")
    return line


def _trend(totals: Sequence[float]) -> float:
    """Return how a total has changed over the last evaluations, 0.0 when by next to nothing."""
    if len(totals) < 2:
        return 0.0
    change = totals[-1] - totals[-TREND:][0]
    return change if abs(change) >= 5e-5 else 0.0


def _bars(
    values: Sequence[float], low: float, high: float, width: int, tall: int, bars: str
) -> list[str]:
    """Draw values as `tall` lines of bars, newest to the right."""
    steps = (len(bars) - 1) * tall
    span = (high - low) or 1.0
    levels = [1 + round((value - low) / span * (steps - 1)) for value in values]
    lines = []
    for line in range(tall):
        below = (tall - 1 - line) * (len(bars) - 1)
        drawn = [bars[min(max(level - below, 0), len(bars) - 1)] for level in levels]
        lines.append("".join(drawn).ljust(width))
    return lines
