"""Appends drafts to a pipeline's events: durable batches, at a rate, with refusals counted."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from stream_app.core.log import Sources
from stream_app.errors import UsageError
from stream_app.hosts.drafts import Draft
from stream_app.records import NewRecord

BATCH_MAX = 1000
SHOWN_MAX = 10
_BATCHES_PER_S = 10

OnBad = Literal["skip", "stop", "send"]


class BadLine(msgspec.Struct, frozen=True):
    """A line that the gate refused, and why."""

    line: int
    reason: str
    field: str | None
    detail: str


class Produced(msgspec.Struct):
    """What came of a file so far.

    `acknowledged` records are durable; `next_offsets` are those behind them by partition. Up to
    `last_line` everything is acknowledged, also labels that come later than their lines. `bad`
    holds the first refused lines only, `refused` counts all.
    """

    topic: str
    acknowledged: int = 0
    refused: int = 0
    sent_bad: int = 0
    last_line: int = 0
    bad: list[BadLine] = []
    next_offsets: dict[int, int] = {}


class Producer:
    """Collects drafts into batches; a batch is acknowledged as a whole or not at all.

    `rate` bounds events per second. Without a log nothing is appended and nothing acknowledged.
    """

    def __init__(
        self,
        log: Sources | None,
        topic: str,
        *,
        on_bad: OnBad = "skip",
        rate: float | None = None,
    ) -> None:
        self.produced = Produced(topic)
        self._log = log
        self._on_bad = on_bad
        self._rate = rate
        self._batch: list[NewRecord] = []
        self._batch_max = BATCH_MAX
        if rate is not None:
            self._batch_max = max(1, min(BATCH_MAX, int(rate / _BATCHES_PER_S)))
        self._began = time.monotonic()
        self._line = 0
        # Lines whose label is not sent yet, in the order of the file, with the line before each.
        self._unfinished: dict[int, int] = {}

    def add(self, draft: Draft) -> bool:
        """Take a draft in; True when a batch is full and `flush` is due.

        Raises `UsageError` for a refused line when that is to stop everything.
        """
        if draft.later is not None:
            self._unfinished[draft.line] = self._line
        else:
            self._unfinished.pop(draft.line, None)
        self._line = max(self._line, draft.line)  # a label that comes later is of an earlier line
        if draft.refusal is None:
            self._batch.append(draft.record)
            return len(self._batch) >= self._batch_max
        produced, why = self.produced, draft.refusal
        produced.refused += 1
        if len(produced.bad) < SHOWN_MAX:
            produced.bad.append(BadLine(draft.line, why.reason, why.field, why.detail))
        if self._on_bad == "send":
            produced.sent_bad += 1
            self._batch.append(draft.record)
        elif self._on_bad == "stop":
            field = f"{why.field}: " if why.field else ""
            raise UsageError(
                f"line {draft.line} is refused: {why.reason}: {field}{why.detail}",
                attempt="repair the line, or leave --strict out to go on without such lines",
            )
        return len(self._batch) >= self._batch_max

    def flush(self) -> None:
        """Append what was collected; on return it is durable."""
        batch, self._batch = self._batch, []
        if batch and self._log is not None:
            for partition, offset in self._log.append(self.produced.topic, batch):
                self.produced.next_offsets[partition] = offset + 1
            self.produced.acknowledged += len(batch)
        self.produced.last_line = next(iter(self._unfinished.values()), self._line)

    def pause_s(self) -> float:
        """Return how long to wait now to keep to the rate."""
        if self._rate is None:
            return 0.0
        due = self._began + self.produced.acknowledged / self._rate
        return max(0.0, due - time.monotonic())
