"""Where a processor begins, and what comes of a batch of records."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream_app.core.commit import Commit, VersionCommit
from stream_app.core.position import Position
from stream_app.core.seats import Seat, SeatChange
from stream_app.errors import StreamAppError
from stream_app.records import Output


class Batch(msgspec.Struct, frozen=True):
    """What came of a poll's worth of records.

    `commit.next_offset` tells how far they were taken: fewer than given when memory is due to be
    written (`image_due`) or when the champion failed (`stop`, to be raised after publishing).
    `outputs` and `commit` go into one transaction.
    """

    outputs: list[Output]
    commit: Commit
    image_due: bool
    stop: StreamAppError | None


class Start(msgspec.Struct, frozen=True):
    """Where a processor begins: at `position`; outputs before `publish_from` are out already.

    `seat` is the one at the origin and `seats` all that was decided of it below `committed`. A
    `backfill` builds a version beside the live lineage: it has no champion, and what acceptance
    puts out is the live lineage's alone.
    """

    position: Position
    committed: int
    publish_from: int
    seat: Seat
    versions: Mapping[str, VersionCommit]
    left: Mapping[str, int]
    seats: tuple[SeatChange, ...] = ()
    left_definitions: Mapping[str, str] = {}
    backfill: bool = False
