"""No skill: a forecast that knows only how many flights were late so far."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from stream_app.records import Record

ROC_AUC = 0.5
"""What a forecast that says the same of every flight scores, by definition."""


class _Observation(msgspec.Struct, tag_field="kind", tag="observation"):
    id: str


class _Label(msgspec.Struct, tag_field="kind", tag="label"):
    id: str
    label: bool


class _Control(msgspec.Struct, tag_field="kind", tag="control"):
    pass


_decode = msgspec.json.Decoder(_Observation | _Label | _Control).decode


class BaseRate:
    """Scores the share of late flights so far as a forecast, test then learn, as models are.

    It forecasts when a flight leaves and is scored when the flight lands. The share begins as if
    one flight had been late and one in time, so that it is never 0 or 1.
    """

    def __init__(self) -> None:
        self.next_offset = 0
        self.log_loss: float | None = None
        self.window_log_loss: float | None = None
        self._late, self._labelled = 0, 0
        self._loss, self._loss_at_window, self._labelled_at_window = 0.0, 0.0, 0
        # Bounded by the flights in the air and the thousand of the year that landed elsewhere.
        self._forecasts: dict[str, float] = {}

    def fold(self, records: Iterable[Record]) -> None:
        """Take the next records of the event log."""
        for record in records:
            self.next_offset = record.offset + 1
            try:
                event = _decode(record.value)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # a dead letter for everybody
            if isinstance(event, _Observation):
                share = (self._late + 1) / (self._labelled + 2)
                self._forecasts.setdefault(event.id, share)
            elif isinstance(event, _Label):
                self._score(self._forecasts.pop(event.id, None), event.label)

    def _score(self, share: float | None, late: bool) -> None:
        if share is None:
            return
        self._loss -= math.log(share if late else 1 - share)
        self._late += late
        self._labelled += 1

    def close_window(self) -> None:
        """Set the figures as of `next_offset`, over all and over what came since last time."""
        if self._labelled == self._labelled_at_window:
            return
        self.log_loss = self._loss / self._labelled
        scored = self._labelled - self._labelled_at_window
        self.window_log_loss = (self._loss - self._loss_at_window) / scored
        self._loss_at_window, self._labelled_at_window = self._loss, self._labelled
