"""A draft: what one line of somebody's file says, held against the gate before it is sent."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from stream_app.codec.decode import Gate
from stream_app.codec.feature_hints import meant_feature, refusal_hint
from stream_app.codec.incoming import UNDECLARED, Admitted, IncomingControl
from stream_app.core.settings import Settings
from stream_app.errors import UsageError
from stream_app.events import LabelValue, Refusal
from stream_app.learning import tasks
from stream_app.records import NewRecord, Record

WAITING_MAX = 1_000_000
MISTYPED_MAX = 20


class Draft(msgspec.Struct, frozen=True):
    """One line: a record to send now, perhaps a label to send later, or why it is refused.

    `ts_ms` and `later_ms` are the event times of the two. A refused line's record is what
    would become its dead letter.
    """

    line: int
    record: NewRecord
    ts_ms: int = 0
    later: NewRecord | None = None
    later_ms: int = 0
    refusal: Refusal | None = None


class EntryGate:
    """The gate that the fold will apply, applied before anything is sent.

    Only what depends on other records (duplicates, labels that contradict) is left to the fold.
    """

    def __init__(self, settings: Settings) -> None:
        acceptance = settings.acceptance
        self.features = acceptance.features
        self._label = tasks.load(acceptance.task).label
        self._gate = Gate(acceptance.limits, acceptance.features, self._label)
        # Undeclared features, which the gate lets pass, by the declared one they were meant to be.
        self.mistyped: dict[str, str] = {}

    def check(self, value: bytes) -> Admitted:
        """Return the event that a record's value would be; raises `Refusal`."""
        now_ms = time.time_ns() // 1_000_000
        try:
            admitted = self._gate.decode(Record("", 0, 0, now_ms, None, value))
        except Refusal as refusal:
            hint = refusal_hint(refusal.reason, refusal.field, value, self.features)
            raise Refusal(refusal.reason, refusal.field, refusal.detail + hint) from None
        if admitted.schema == UNDECLARED and self.features and admitted.features:
            self._note_mistyped(admitted.features)
        if type(admitted.event) is IncomingControl:
            raise Refusal("control", "kind", "controls are signed: use `stream-app apply`")
        return admitted

    def _note_mistyped(self, features: Mapping[str, object]) -> None:
        declared = self.features or {}
        for name in features:
            if name not in declared and name not in self.mistyped:
                meant = meant_feature(name, features, declared)
                if meant is not None and len(self.mistyped) < MISTYPED_MAX:
                    self.mistyped[name] = meant

    def label_value(self, text: str) -> LabelValue:
        """Return what the task takes a label's text for; text that it refuses stays text."""
        for value in (text, number(text), _TRUTHS.get(text.lower())):
            if value is not None:
                try:
                    self._label(value)
                except Refusal:
                    continue
                return value
        return text


def number(text: str) -> int | float | None:
    """Return the number that a text says, None when it says none."""
    if "_" in text:  # Python reads 1_000 as a number; people who write it mean a name
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


_TRUTHS = {"true": True, "false": False}


def labels_in_time(drafts: Iterable[Draft], waiting_max: int = WAITING_MAX) -> Iterator[Draft]:
    """Yield drafts with the labels that come later at their own time, before what ties with it.

    Keeps the labels whose time has not come; raises `UsageError` beyond `waiting_max` of them.
    """
    waiting: list[tuple[int, int, NewRecord]] = []
    for draft in drafts:
        if draft.refusal is None:
            yield from _due(waiting, draft.ts_ms)
        yield draft
        if draft.later is not None:
            heapq.heappush(waiting, (draft.later_ms, draft.line, draft.later))
            if len(waiting) > waiting_max:
                raise UsageError(
                    f"line {draft.line}: more than {waiting_max} labels wait for their time",
                    attempt="sort the file by time, or send the labels from a file of their own",
                )
    yield from _due(waiting, None)


def _due(waiting: list[Any], now_ms: int | None) -> Iterator[Draft]:
    while waiting and (now_ms is None or waiting[0][0] <= now_ms):
        ts_ms, line, record = heapq.heappop(waiting)
        yield Draft(line, record, ts_ms)
