"""What the demo's processes say to each other; their parent can read it without River."""

from __future__ import annotations

import msgspec

from stream_app.errors import StreamAppError

STOP = "stop"


class Loaded(msgspec.Struct, frozen=True):
    """The worker has loaded the pipeline of this name."""

    pipeline: str


class Began(msgspec.Struct, frozen=True):
    """The worker processes: log and topics are there."""


class Noted(msgspec.Struct, frozen=True):
    """What a person should know about the worker's start, though nothing is wrong."""

    text: str


class Begin(msgspec.Struct, frozen=True):
    """To the producer: log and topics of this pipeline are there."""

    pipeline: str


class AllAppended(msgspec.Struct, frozen=True):
    """The producer has put everything asked for into the log, which ends at `end`."""

    end: int


class Ended(msgspec.Struct, frozen=True):
    """A process's last word: it ended in good order, or by an error."""

    error: StreamAppError | None
