"""CSV to drafts: one line is an observation, with its label at once, later or never."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from stream_app.codec.encode import encode_event
from stream_app.codec.moments import UNIT_WORDS, iso_ms
from stream_app.errors import UsageError
from stream_app.events import Feature, Label, Observation, Refusal
from stream_app.hosts.drafts import Draft, EntryGate, number
from stream_app.records import NewRecord

TimeUnit = Literal["ms", "s", "iso"]
_DELAY = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Columns(msgspec.Struct, frozen=True):
    """Which columns mean what; the rest are features unless `features` names them.

    `label_delay` is a duration such as `90s`, `15m`, `2h`, `1d`, or a column of delays: in
    milliseconds when `unit` is "ms", else in seconds. `unit` is that of all times: Unix
    milliseconds, Unix seconds, or ISO 8601, in UTC where it does not say otherwise.
    """

    id: str = "id"
    time: str = "ts_ms"
    unit: TimeUnit = "ms"
    key: str | None = None
    label: str | None = None
    label_time: str | None = None
    label_delay: str | None = None
    features: tuple[str, ...] = ()
    delimiter: str = ","


def csv_drafts(lines: Iterable[bytes], columns: Columns, gate: EntryGate) -> Iterator[Draft]:
    """Yield a draft for each line below the head.

    Empty cells are absent features (or the empty string, where one is required) and labels that
    never come. Raises `UsageError` for columns that the head does not have.
    """
    texts = (line.decode("utf-8", "surrogateescape") for line in lines)
    reader = csv.reader(texts, delimiter=columns.delimiter)
    try:
        head = [name.removeprefix("\ufeff").strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UsageError(f"the first line is no CSV: {error}", attempt="--delimiter") from None
    row = _Row(head, columns, gate)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = Refusal("malformed", None, f"no CSV: {error}")
            yield Draft(reader.line_num, NewRecord(None, b"", partition=0), refusal=why)
            continue
        if cells:
            yield row.draft(reader.line_num, cells)


class _Row:
    """Turns the cells of one file's lines into drafts."""

    def __init__(self, head: Sequence[str], columns: Columns, gate: EntryGate) -> None:
        self._head = head
        self._gate = gate
        self._types: Mapping[str, str] = gate.features or {}
        self._unit = columns.unit
        place = {name: i for i, name in enumerate(head)}
        if len(place) < len(head):
            twice = next(name for i, name in enumerate(head) if place[name] != i)
            raise UsageError(f"two columns are named {twice!r}", attempt="rename one of them")
        self._fixed_ms = _fixed_delay(columns.label_delay, place)
        delay = columns.label_delay if self._fixed_ms is None else None
        named = [columns.id, columns.time, columns.key, columns.label, columns.label_time, delay]
        for name in (*named, *columns.features):
            if name is not None and name not in place:
                if name == delay and number(name) is not None:
                    raise UsageError(
                        f"--label-delay {name} has no unit, and no column has that name",
                        attempt=f"--label-delay {name}s; or ms, m, h, d",
                    )
                raise UsageError(
                    f"there is no column {name!r}; the file has {', '.join(head) or 'none'}",
                    attempt="--id, --time, --key, --label, --label-time, --label-delay and "
                    "--feature say which columns to use",
                )
        defaults = [columns.id, columns.time, columns.key or "key", columns.label or "label"]
        self._id, self._time, self._key, self._label = (place.get(name) for name in defaults)
        self._label_time = place.get(columns.label_time or "")
        self._delay = place.get(delay or "")
        taken = {name for name in (*named, "key", "label") if name is not None}
        chosen = columns.features or [name for name in head if name not in taken]
        self._features = [(place[name], name, self._types.get(name)) for name in chosen]

    def draft(self, line: int, cells: Sequence[str]) -> Draft:
        """Return what a line says."""
        try:
            return self._admitted(line, cells)
        except Refusal as refusal:
            return Draft(line, self._refused(cells), refusal=refusal)
        except UsageError as error:  # what cannot be written as JSON
            why = Refusal("not_writable", None, error.problem)
            return Draft(line, self._refused(cells), refusal=why)

    def _admitted(self, line: int, cells: Sequence[str]) -> Draft:
        if len(cells) != len(self._head):
            detail = f"{len(cells)} cells; the head has {len(self._head)}"
            raise Refusal("malformed", None, detail)
        observation, label = self._events(cells)
        record = encode_event(observation)
        self._gate.check(record.value)
        if label is None:
            return Draft(line, record, observation.ts_ms)
        later = encode_event(label)
        self._gate.check(later.value)
        return Draft(line, record, observation.ts_ms, later, label.ts_ms)

    def _events(self, cells: Sequence[str]) -> tuple[Observation, Label | None]:
        event_id, time, key = self._cell(cells, self._id), self._cell(cells, self._time), None
        if self._key is not None:
            key = cells[self._key] or None
        ts_ms = self._time_ms("ts_ms", time)
        text = self._cell(cells, self._label)
        label = self._gate.label_value(text) if text else None
        features: dict[str, Feature | None] = {
            n: self._feature(n, cells[i], k) for i, n, k in self._features if cells[i] or k == "str"
        }
        later_ms = None if label is None else self._later_ms(cells, ts_ms)
        if label is None or later_ms is None:
            return Observation(event_id, ts_ms, features, key, label), None
        return Observation(event_id, ts_ms, features, key), Label(event_id, later_ms, label, key)

    def _cell(self, cells: Sequence[str], place: int | None) -> str:
        return "" if place is None else cells[place]

    def _feature(self, name: str, text: str, kind: str | None) -> Feature:
        plain = (kind or "").removesuffix("?")
        if plain == "str":
            return text
        if plain == "bool":
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        value = number(text)
        if value is None:
            return text
        if not math.isfinite(value):
            raise Refusal("not_finite", f"features.{name}", f"{text}; leave the cell empty")
        return int(value) if plain == "int" and value == int(value) else value

    def _later_ms(self, cells: Sequence[str], ts_ms: int) -> int | None:
        """Return when the label comes, None for at once."""
        if self._fixed_ms is not None:
            return ts_ms + self._fixed_ms
        if self._label_time is not None:
            return self._time_ms("label time", cells[self._label_time])
        if self._delay is None:
            return None
        delay = number(cells[self._delay])
        if delay is None or not -1e15 < delay < 1e15:
            raise Refusal("wrong_type", "label delay", f"{cells[self._delay][:64]!r}")
        return ts_ms + round(delay if self._unit == "ms" else delay * 1000)

    def _time_ms(self, field: str, text: str) -> int:
        try:
            if self._unit == "iso":
                return iso_ms(text)
            return round(float(text) * 1000) if self._unit == "s" else int(text)
        except (ValueError, OverflowError):
            detail = f"{text[:64]!r} is no time in {UNIT_WORDS[self._unit]} (--time-unit)"
            raise Refusal("wrong_type", field, detail) from None

    def _refused(self, cells: Sequence[str]) -> NewRecord:
        """Return what becomes the dead letter: the line by its columns."""
        named = dict(zip(self._head, cells, strict=False))
        named.update({f"cell {i}": c for i, c in enumerate(cells[len(self._head) :], 1)})
        safe = {k: v.encode("utf-8", "backslashreplace").decode() for k, v in named.items()}
        return NewRecord(None, msgspec.json.encode(safe), partition=0)


def _fixed_delay(delay: str | None, columns: Mapping[str, int]) -> int | None:
    """Return a delay that is a duration in ms; None for a column or no delay at all."""
    if delay is None or delay in columns:
        return None
    found = _DELAY.fullmatch(delay)
    return round(float(found[1]) * _UNIT_MS[found[2]]) if found else None
