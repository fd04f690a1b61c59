"""Acceptance once more, as simply as it can be said: plain lists and dicts, one after the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

from stream_app.events import Control, Label, Observation

EARLY_PER_RECORD = 4


class Reference:
    """What should become of every event; `joins` lists (observation id, label, delay)."""

    def __init__(self, *, wait_ms: int, ids_max: int, early_max: int, segment: int) -> None:
        self.wait_ms, self.ids_max, self.early_max = wait_ms, ids_max, early_max
        self.segment = segment
        self.count: Counter[str] = Counter()
        self.joins: list[tuple[str, Any, int]] = []
        self.letters: list[str] = []
        self.now = 0
        self.times: list[int] = []
        self.rows: list[dict[str, Any]] = []  # by order of acceptance
        self.forgotten = 0  # segments
        self.early: dict[str, tuple[Any, int, int]] = {}  # label, time, until
        self.acted: set[str] = set()

    @property
    def waiting(self) -> int:
        return sum(row["state"] == "waits" for row in self.rows)

    def take(self, event: Observation | Label | Control) -> None:
        self.count["records"] += 1
        if isinstance(event, Control):
            if event.id not in self.acted:
                self.acted.add(event.id)
                self.count["controls"] += 1
                self._set_time(event.ts_ms)
            return
        fine = self._observe(event) if isinstance(event, Observation) else self._label(event)
        if not fine:
            self.count["dead_letters"] += 1
            return
        self.times = [*self.times, event.ts_ms][-101:]
        self.now = max(self.now, sorted(self.times)[(len(self.times) - 1) // 2])
        self._forget_one_segment()
        self._time_out_one_segment()
        for _ in range(EARLY_PER_RECORD):
            self._drop_oldest_early()

    def _find(self, name: str) -> dict[str, Any] | None:
        known = self.rows[max(0, len(self.rows) - self.ids_max) :]
        return next((row for row in reversed(known) if row["id"] == name), None)

    def _observe(self, event: Observation) -> bool:
        if self._find(event.id):
            self.letters.append("duplicate")
            return False
        self.count["observations"] += 1
        label, delay = event.label, 0
        if event.id in self.early:
            early, ts_ms, until = self.early.pop(event.id)
            if until < self.now:
                self.count["labels_unknown"] += 1
            elif label is None:
                label, delay = early, ts_ms - event.ts_ms
            else:
                self.count["labels_duplicate" if early == label else "labels_conflicting"] += 1
        row = {"id": event.id, "ts": event.ts_ms, "label": label, "state": "joined", "until": 0}
        self.rows.append(row)
        if label is None:
            row["state"] = "waits"
            row["until"] = max(event.ts_ms, self.now) + self.wait_ms
        else:
            self._join(event.id, label, delay)
        return True

    def _label(self, event: Label) -> bool:
        row = self._find(event.id)
        if row is None:
            return self._keep_early(event)
        if row["state"] == "joined":
            return self._second(row["label"], event.label)
        if row["state"] == "timed out" or row["until"] < self.now:
            self.count["labels_late"] += 1
            return True
        row["state"], row["label"] = "joined", event.label
        self._join(event.id, event.label, event.ts_ms - row["ts"])
        return True

    def _keep_early(self, event: Label) -> bool:
        if event.id in self.early:
            label, _, until = self.early[event.id]
            if until >= self.now:
                return self._second(label, event.label)
            del self.early[event.id]
            self.count["labels_unknown"] += 1
        self.count["labels_early"] += 1
        until = max(event.ts_ms, self.now) + self.wait_ms
        self.early[event.id] = (event.label, event.ts_ms, until)
        return True

    def _second(self, first: Any, second: Any) -> bool:
        self.count["labels_duplicate" if first == second else "labels_conflicting"] += 1
        if first != second:
            self.letters.append("conflicting_label")
        return bool(first == second)

    def _join(self, name: str, label: Any, delay: int) -> None:
        self.count["labels_joined"] += 1
        self.joins.append((name, label, delay))

    def _segment_rows(self, number: int) -> list[dict[str, Any]]:
        return self.rows[number * self.segment : (number + 1) * self.segment]

    def _time_out(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["state"] == "waits":
                row["state"] = "timed out"
                self.count["timed_out"] += 1

    def _forget_one_segment(self) -> None:
        if (self.forgotten + 1) * self.segment <= len(self.rows) - self.ids_max:
            self._time_out(self._segment_rows(self.forgotten))
            self.forgotten += 1

    def _due(self, number: int) -> list[dict[str, Any]]:
        rows = self._segment_rows(number)
        return [row for row in rows if row["state"] == "waits" and row["until"] < self.now]

    def _time_out_one_segment(self) -> None:
        numbers = range((len(self.rows) + self.segment - 1) // self.segment)
        due = [(min(row["until"] for row in self._due(n)), n) for n in numbers if self._due(n)]
        if due:
            self._time_out(self._due(min(due)[1]))

    def _drop_oldest_early(self) -> bool:
        if not self.early:
            return False
        oldest = next(iter(self.early))
        if self.early[oldest][2] >= self.now and len(self.early) <= self.early_max:
            return False
        del self.early[oldest]
        self.count["labels_unknown"] += 1
        return True

    def _set_time(self, ts_ms: int) -> None:
        self.now = max(self.now, ts_ms)
        for number in range(len(self.rows) // self.segment + 1):
            self._time_out(self._due(number))
        while self._drop_oldest_early():
            pass
