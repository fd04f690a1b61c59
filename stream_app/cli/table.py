"""Rows of text in columns, for people: plain enough for a pipe, and cut only where asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

ROWS_MEASURED_MAX = 200
CELL_CHARS_MIN = 12


def table_lines(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[int] = (),
    width: int | None = None,
) -> Iterator[str]:
    """Yield lines whose columns line up; `right` numbers the columns that hold figures.

    Only the first rows decide the widths, so that rows may go on for ever; a wider cell later
    pushes its row out of line. With a `width` cells are cut so that lines are no longer than
    that, those of the last columns first.
    """
    rows = iter(rows)
    first = list(islice(rows, ROWS_MEASURED_MAX))
    widths = [max(map(len, column)) for column in zip(head, *first, strict=True)]
    if width is not None:
        _narrow(widths, width)
    for row in chain([head], first, rows):
        cells = row if width is None else map(_cut, row, widths)
        aligned = [
            cell.rjust(wide) if i in right else cell.ljust(wide)
            for i, (cell, wide) in enumerate(zip(cells, widths, strict=True))
        ]
        yield "  ".join(aligned).rstrip()


def folded_lines(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    width: int | None = None,
) -> Iterator[str]:
    """Yield a table of few rows, of which nothing is cut.

    Columns for which a line of `width` has no room follow in a table below, behind the first one.
    """
    rows, right = list(rows), set(right)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for number, columns in enumerate(_folds(widths, width)):
        if number:
            yield ""
        yield from table_lines(
            [head[i] for i in columns],
            [[row[i] for i in columns] for row in rows],
            right=[place for place, i in enumerate(columns) if i in right],
        )


def _folds(widths: Sequence[int], whole: int | None) -> list[list[int]]:
    """Return which columns stand side by side: at least the first and one more."""
    folds: list[list[int]] = [[0]]
    taken = widths[0]
    for i, wide in enumerate(widths[1:], start=1):
        if whole is not None and taken + 2 + wide > whole and len(folds[-1]) > 1:
            folds.append([0])
            taken = widths[0]
        folds[-1].append(i)
        taken += 2 + wide
    return folds


def _narrow(widths: list[int], whole: int) -> None:
    """Take from the last columns what is too much for a line, and leave each a few characters."""
    excess = sum(widths) + 2 * (len(widths) - 1) - whole
    for i in reversed(range(len(widths))):
        taken = max(0, min(excess, widths[i] - CELL_CHARS_MIN))
        widths[i] -= taken
        excess -= taken


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def count(number: int) -> str:
    """Write a count with its thousands set apart."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Write a duration in its largest fitting units: `8 s`, `3 min 20 s`, `5 h 02 min`, `3 d`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d"


def size(number: int) -> str:
    """Write a number of bytes in its largest fitting unit."""
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def clock_time(unix_ms: int) -> str:
    """Write Unix milliseconds as UTC."""
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms"
