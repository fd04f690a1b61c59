"""A mutation fuzzer for what anybody may send: bytes to decode, gate and acceptance.

Guided by coverage: an input that reaches a line of `codec/` or acceptance which none before it has
reached is kept, and mutated further. Nothing may be raised but `Refusal`, and the memory that one
record takes is bounded. `scripts/fuzz --minutes 10 --seed 1`; a bounded form runs with the tests.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from river import linear_model

from stream_app.codec.encode import encode_event
from stream_app.codec.limits import Limits
from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.core.processor import PartitionProcessor
from stream_app.core.rehearsal import rehearsal_processor
from stream_app.core.topics import Topics
from stream_app.events import Control, Event, Label, Observation
from stream_app.learning.tasks import Binary
from stream_app.records import Record

VALUE_BYTES_MAX = 4096
# A document is parsed up to three times, each time into objects of some hundred bytes each.
MEMORY_MAX = 400 * VALUE_BYTES_MAX
MEMORY_EVERY = 64
FRESH_EVERY = 5000
T0 = 1_357_000_000_000
_WATCHED = ("/stream_app/codec/", "/stream_app/core/acceptance.py", "/stream_app/core/early")

_ID = re.compile(rb'"id":"[^"]*"')
_BITS: list[bytes] = [
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\\u0000", b"\\ud800", b"\\udc00", b"null",
    b"true", b"NaN", b"-Infinity", b"1e308", b"1e999", b"-0.0", b"9" * 400, b"9223372036854775808",
    b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9", b"\xef\xbb\xbf", b"\x00", b"[" * 40,
    b'{"a":' * 20, b'"kind"', b'"observation"', b'"label"', b'"control"', b'"features"',
    b'"id"', b'"ts_ms"',
    b'"meta"', b'"settings"', b'"public_keys"', b'"sig"', b'"key"', b'"a"', b'"w"', b'"s"',
    b'"id":"x",',
]  # fmt: skip


def seeds() -> list[bytes]:
    """Return well-formed events, from which all others come."""
    features: dict[str, Any] = {"a": 1.5, "n": 3, "s": "word", "w": None}
    events: list[Event] = [
        Observation("o1", T0, features, "k"),
        Observation("o2", T0, features, "k", label=True, meta={"trace": ["x", {"y": 1}]}),
        Observation("o3", T0, {**features, "other": True, "more": "text"}),
        Label("o1", T0 + 5, False, "k"),
        Label("early", T0 + 5, True),
        Control("c", T0, "time", sig="ed25519:k1:" + "A" * 86),
        Control("c", T0, "key", public_keys={"k2": "0" * 64, "k1": None}, sig="x"),
        Control("c", T0, "settings", settings={"acceptance": {"wait_ms": 5}}, by="ana"),
    ]
    return [encode_event(event).value for event in events]


def pipelines() -> Iterator[Pipeline]:
    """Give one with declared features, one with optional ones, and one that declares none."""
    for declared in (
        {"a": float, "n": int, "s": str},
        {"a": float, "n": int, "s": str, "w": float | None},
        None,
    ):
        yield Pipeline(
            "fuzz",
            task=Binary(),
            features=declared,
            labels=Labels(wait=timedelta(hours=1)),
            limits=Limits(value_bytes_max=VALUE_BYTES_MAX, features_max=20, failures_max=1 << 40),
            metrics={},
            versions={"v1": Version(linear_model.LogisticRegression(), features=["a", "n"])},
        )


class Wrong(AssertionError):
    """An input that did what none may."""


class Fuzzer:
    """One seed's run; `tally` counts the reasons of refusal, and what was accepted."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.corpus = seeds()
        self.tally: Counter[str] = Counter()
        self.inputs = 0
        self.largest = 0
        self._lines: set[tuple[str, int]] = set()
        self._fresh = False
        self._pipelines = list(pipelines())
        self._start()

    @property
    def lines(self) -> int:
        """How many lines were reached."""
        return len(self._lines)

    def _start(self) -> None:
        self._processors = [rehearsal_processor(pipeline) for pipeline in self._pipelines]

    def run(self, going_on: Callable[[], bool]) -> None:
        """Make inputs while `going_on` says so; raises `Wrong` with the input."""
        for value in list(self.corpus):
            self.feed(value)
        while going_on():
            if self.inputs % FRESH_EVERY == 0:
                self._start()
            self.feed(self._mutant())

    def feed(self, value: bytes) -> None:
        """Let every pipeline process an input."""
        self.inputs += 1
        self._fresh = False
        measured = self.inputs % MEMORY_EVERY == 0
        for processor in self._processors:
            record = Record(Topics("fuzz").events, 0, processor.next_offset, T0 + 1000, b"k", value)
            with _measured(self) if measured else self._traced():
                self._process(processor, record)
        if self._fresh:
            self.corpus.append(value)

    def _process(self, processor: PartitionProcessor, record: Record) -> None:
        before = processor.acceptance.counters.dead_letters
        try:
            batch = processor.process([record])
        except Exception as error:
            raise Wrong(f"{record.value!r} raised {type(error).__name__}: {error}") from error
        if batch.stop is not None:
            raise Wrong(f"{record.value!r} stopped its partition: {batch.stop}")
        refused = processor.acceptance.counters.dead_letters - before
        if processor.next_offset != record.offset + 1 or refused > 1:
            raise Wrong(f"{record.value!r} made {refused} dead letters")
        self.tally["refused" if refused else "accepted"] += 1

    @contextmanager
    def _traced(self) -> Iterator[None]:
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(None)

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Any:
        name = frame.f_code.co_filename
        return self._line if any(part in name for part in _WATCHED) else None

    def _line(self, frame: FrameType, _event: str, _argument: object) -> Any:
        place = frame.f_code.co_filename, frame.f_lineno
        if place not in self._lines:
            self._lines.add(place)
            self._fresh = True
        return self._line

    def _mutant(self) -> bytes:
        draw = self._draw
        value = bytearray(draw.choice(self.corpus))
        if draw.random() < 0.8:  # an id that is known goes no further
            fresh = b'"id":"%d"' % self.inputs
            value = bytearray(_ID.sub(lambda _: fresh, value, count=1))
        for _ in range(draw.choice([0, 1, 1, 1, 2, 3, 8])):
            at = draw.randrange(len(value) + 1)
            to = min(len(value), at + draw.choice([0, 1, 1, 4, 20]))
            dice = draw.random()
            if dice < 0.45:
                value[at:to] = draw.choice(_BITS)
            elif dice < 0.6:
                value[at:to] = b""
            elif dice < 0.75:
                other = draw.choice(self.corpus)
                begin = draw.randrange(len(other) + 1)
                value[at:to] = other[begin : begin + draw.choice([4, 16, 64])]
            elif dice < 0.85 and value:
                value[at % len(value)] = draw.randrange(256)
            else:
                value[at:at] = bytes(value[at:to]) * draw.choice([1, 2, 30])
        return bytes(value[: VALUE_BYTES_MAX + 50])


@contextmanager
def _measured(fuzzer: Fuzzer) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    fuzzer.largest = max(fuzzer.largest, peak)
    if peak > MEMORY_MAX:
        raise Wrong(f"an input took {peak} bytes of memory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz for some minutes; returns 3 when something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (1)")
    chosen = parser.parse_args(arguments)
    fuzzer = Fuzzer(chosen.seed)
    end = time.monotonic() + 60 * chosen.minutes
    try:
        fuzzer.run(lambda: time.monotonic() < end)
    except Wrong as wrong:
        print(f"after {fuzzer.inputs} inputs: {wrong}")
        return 3
    print(
        f"seed {chosen.seed}: {fuzzer.inputs} inputs in each of 3 pipelines, none raised; "
        f"{fuzzer.tally['accepted']} accepted, {fuzzer.tally['refused']} refused; "
        f"{fuzzer.lines} lines reached by {len(fuzzer.corpus)} kept inputs; "
        f"at most {fuzzer.largest} bytes of memory for one"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
