"""Into which parts events are told apart: by key, by a feature's values, or by its fifths."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from stream_app.core.joins import Observed
from stream_app.core.log import Log
from stream_app.errors import UsageError
from stream_app.hosts.bounds import Range
from stream_app.near_names import did_you_mean

VALUES_MAX = 100
FIFTHS = 5
FEW_MAX = 12
SAMPLE_MAX = 10_000
_PLACES = 10
MISSING, OTHERS = "(missing)", "others"


class _Sampled(msgspec.Struct):
    """An observation, as far as a sample needs it."""

    kind: str = ""
    features: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Sampled).decode


class Slicing:
    """Numbers the parts of one range as they are met; at most 100 values are told apart."""

    def __init__(self, by: str, edges: list[float] | None) -> None:
        self.by = by
        self._edges = edges
        self._numbers: dict[str, int] = {}

    @property
    def ordered(self) -> bool:
        """Whether the parts have an order of their own: fifths do."""
        return self._edges is not None

    def number(self, event: Observed) -> int:
        """Return the part that an observation belongs to."""
        if self.by == "key":
            return self._of(event.key)
        value = event.features.get(self.by)
        if value is None:
            return self._of(MISSING)
        if self._edges is not None and type(value) in (int, float):
            return self._of(_span(self._edges, bisect_right(self._edges, value)))
        return self._of(_word(value))

    def _of(self, name: str) -> int:
        numbers = self._numbers
        number = numbers.get(name)
        if number is None:
            if len(numbers) >= VALUES_MAX and name != OTHERS:
                return self._of(OTHERS)
            number = numbers[name] = len(numbers)
        return number

    def parts(self) -> list[tuple[str, int]]:
        """Return (name, number) of each part: fifths in their order, else as they were met."""
        rows = list(self._numbers.items())
        if self._edges is None:
            return rows
        names = [_span(self._edges, i) for i in range(len(self._edges) + 1)]
        order = {name: i for i, name in enumerate(names)}
        return sorted(rows, key=lambda row: order.get(row[0], len(order)))


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _span(edges: list[float], place: int) -> str:
    if place == 0:
        return f"below {edges[0]:g}"
    if place == len(edges):
        return f"{edges[-1]:g} and more"
    return f"{edges[place - 1]:g} to {edges[place]:g}"


def slicing_by(
    by: str, log: Log, topic: str, ranges: Mapping[int, Range], declared: Mapping[str, object]
) -> Slicing:
    """Return how to tell events apart by `by`; raises `UsageError` when no event has it."""
    if by == "key":
        return Slicing(by, None)
    values, names = [], set(declared)
    for features in _sample(log, topic, ranges):
        names |= features.keys()
        if features.get(by) is not None:
            values.append(features[by])
    if not values:
        raise UsageError(
            f"--by {by}: no event in this range has such a feature"
            + did_you_mean(by, [*names, "key"]),
            attempt=f"--by key, or one of {', '.join(sorted(names)[:20])}",
        )
    numbers = [v for v in values if type(v) in (int, float)]
    if len(numbers) < len(values) / 2 or len(set(numbers)) <= FEW_MAX:
        return Slicing(by, None)
    inner = np.quantile(numbers, [i / FIFTHS for i in range(1, FIFTHS)])
    return Slicing(by, [float(edge) for edge in np.unique(inner)])


def _sample(log: Log, topic: str, ranges: Mapping[int, Range]) -> Iterator[dict[str, Any]]:
    """Yield the features of some observations from all over the ranges."""
    each = max(1, SAMPLE_MAX // _PLACES // max(1, len(ranges)))
    for partition, (begin, end) in ranges.items():
        for place in range(_PLACES):
            offset = begin + (end - begin) * place // _PLACES
            for record in log.read(topic, partition, offset, records_max=each):
                try:
                    event = _decode(record.value)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue  # a dead letter, most probably
                if event.kind == "observation":
                    yield event.features
