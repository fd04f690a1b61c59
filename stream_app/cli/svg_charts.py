"""Two charts as inline SVG: bars over time, and intervals around zero."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from stream_app.hosts.comparison import shown

_WIDTH, _HEIGHT = 900, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 10, 12, 28
_ROW = 26
_LETTERS = 14
_NAME = 190
_NAME_CHARS_MAX = 26


class Point(NamedTuple):
    """A value at a time, and what more there is to say of it."""

    when: str
    value: float
    more: str


class Bar(NamedTuple):
    """A value with its interval, under a name."""

    name: str
    value: float
    low: float
    high: float


def differences_over_time(points: Sequence[Point], *, bigger_is_better: bool) -> str:
    """Draw one bar for each point, up or down from zero; pointed at, it tells its figures."""
    high = max(0.0, *(point.value for point in points))
    low = min(0.0, *(point.value for point in points))
    scale = (_HEIGHT - _TOP - _BOTTOM) / ((high - low) or 1.0)
    zero = _TOP + high * scale
    step = (_WIDTH - _LEFT - _RIGHT) / len(points)
    # What is close to zero would be written over it.
    ends = {0.0, *(end for end in (high, low) if abs(end) * scale > _LETTERS)}
    parts = [_label(_LEFT - 8, zero - v * scale + 4, _axis(v), "end") for v in sorted(ends)]
    for i, point in enumerate(points):
        height = abs(point.value) * scale
        top = zero - height if point.value > 0 else zero
        told = escape(f"{point.when}: {shown(point.value, signed=True)}, {point.more}")
        parts.append(
            f'<rect x="{_LEFT + i * step + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}" '
            f'height="{max(height, 0.5):.1f}" fill="{_colour(point.value, bigger_is_better)}">'
            f"<title>{told}</title></rect>"
        )
    parts.append(_rule(_LEFT, zero, _WIDTH - _RIGHT, zero))
    parts.append(_label(_LEFT, _HEIGHT - 8, points[0].when, "start"))
    parts.append(_label(_WIDTH - _RIGHT, _HEIGHT - 8, points[-1].when, "end"))
    return _svg(_HEIGHT, parts)


def intervals(bars: Sequence[Bar], *, bigger_is_better: bool) -> str:
    """Draw each interval as a line with its value as a dot, around zero."""
    far = max(max(abs(bar.low), abs(bar.high)) for bar in bars) or 1.0
    zero = _NAME + (_WIDTH - _NAME - _RIGHT) / 2
    scale = (_WIDTH - _RIGHT - zero) / far
    bottom = _TOP + _ROW * len(bars)
    parts = [_rule(zero, _TOP, zero, bottom)]
    for i, bar in enumerate(bars):
        y = _TOP + _ROW * (i + 0.5)
        sure = bar.low > 0 or bar.high < 0
        colour = _colour(bar.value, bigger_is_better) if sure else "var(--dim)"
        name = (
            bar.name if len(bar.name) <= _NAME_CHARS_MAX else f"{bar.name[: _NAME_CHARS_MAX - 1]}…"
        )
        parts.append(_label(_NAME - 10, y + 4, name, "end"))
        parts.append(
            f'<line x1="{zero + bar.low * scale:.1f}" y1="{y}" x2="{zero + bar.high * scale:.1f}" '
            f'y2="{y}" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>'
        )
        told = escape(f"{bar.name}: {shown(bar.value, signed=True)}")
        parts.append(
            f'<circle cx="{zero + bar.value * scale:.1f}" cy="{y}" r="5" fill="{colour}">'
            f"<title>{told}</title></circle>"
        )
    for x, value, anchor in (
        (_NAME, -far, "start"),
        (zero, 0.0, "middle"),
        (_WIDTH - _RIGHT, far, "end"),
    ):
        parts.append(_label(x, bottom + 16, _axis(value), anchor))
    return _svg(bottom + 24, parts)


def _axis(value: float) -> str:
    return shown(value, signed=True) if value else "0"


def _colour(value: float, bigger_is_better: bool) -> str:
    return "var(--good)" if (value > 0) == bigger_is_better else "var(--bad)"


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="var(--dim)"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img">\n' + "\n".join(parts) + "\n</svg>"
