"""The answers to `/livez` and `/readyz`: a verdict, and per partition what is missing."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_app.web.board import LIVE, STALLED, Board, Row


class Health(msgspec.Struct, frozen=True):
    """A verdict and why, as a JSON body says it."""

    good: bool
    body: dict[str, Any]


def alive(board: Board[Any]) -> Health:
    """Tell whether the process works: only a loop that makes no steps says no.

    A partition that learns again or that an error stopped is no reason to kill the process: a
    restart would begin the same work anew, or meet the same error.
    """
    rows = board.rows() or []
    good = all(row.state != STALLED for row in rows)
    return Health(good, {"alive": good, "partitions": [_said(row) for row in rows]})


def ready(board: Board[Any]) -> Health:
    """Tell whether every owned partition is live; without any, there is nothing to wait for."""
    rows = board.rows()
    if rows is None:
        missing = "its partitions are not known yet"
        return Health(False, {"ready": False, "missing": missing, "partitions": []})
    good = all(row.state == LIVE for row in rows)
    return Health(good, {"ready": good, "partitions": [_said(row) for row in rows]})


def _said(row: Row[Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"partition": row.partition, "state": row.state}
    if row.report is not None:
        said["next_offset"] = row.report.next_offset
        said["lag"] = row.report.end - row.report.next_offset
    if row.missing is not None:
        said["missing"] = row.missing
    return said
