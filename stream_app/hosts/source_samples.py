"""What the newest records of intake's sources tell of the mappings that are declared for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from stream_app.codec.mapping import EventMapping, is_one_of, read_document
from stream_app.codec.paths import MISSING, Path, pick
from stream_app.core.intake import Source
from stream_app.core.log import Log, Sources
from stream_app.core.upkeep import Finding
from stream_app.events import Refusal
from stream_app.records import Record

SAMPLED_MAX = 200
_SHOWN_MAX = 5
_AS_INTENDED = "look at {place}, and at the path in the declaration"


class Sampled(msgspec.Struct, frozen=True):
    """A source's record and the document in it."""

    record: Record
    document: Any


def source_findings(log: Log, sources: Sequence[Source]) -> list[Finding]:
    """Hold every mapping against the newest records of its source; what is refused is counted.

    A path that is wrong shows nowhere else where a record may have nothing: the feature is absent
    then, and a record that no `where` fits is left out.
    """
    others = log.sources()
    present = others.topics()
    rows: list[Finding] = []
    for source in sources:
        sample = [
            sampled
            for partition in range(present.get(source.topic, 0))
            for sampled in _newest(others, source.topic, partition)
        ]
        for mapping in source.mappings if sample else ():
            rows += _of_mapping(source.topic, mapping, sample)
    return rows


def _newest(others: Sources, topic: str, partition: int) -> Iterator[Sampled]:
    start, end = others.bounds(topic, partition)
    for record in others.read(
        topic, partition, max(start, end - SAMPLED_MAX), records_max=SAMPLED_MAX
    ):
        try:
            yield Sampled(record, read_document(record.value))
        except Refusal:
            continue  # a dead letter by its own reason, whatever is declared


def _of_mapping(topic: str, mapping: EventMapping, sample: list[Sampled]) -> Iterator[Finding]:
    fitting = [row for row in sample if mapping.fits(row.document)]
    if not fitting:
        yield from _nothing_fits(topic, mapping, sample)
        return
    yield from _refused(topic, mapping, fitting)
    place = fitting[-1].record.position
    for what, path in mapping.optional().items():
        if all(pick(row.document, path) is MISSING for row in fitting):
            said = f"{what}: nothing is at {path.text} in any of the newest {len(fitting)} records"
            yield Finding("note", "mapping", topic, said, _AS_INTENDED.format(place=place))


def _refused(topic: str, mapping: EventMapping, fitting: list[Sampled]) -> Iterator[Finding]:
    reasons: Counter[str] = Counter()
    example: dict[str, str] = {}
    for row in fitting:
        try:
            mapping.event(row.document, row.record)
        except Refusal as refusal:
            why = f"{refusal.field or refusal.reason}: {refusal.detail}"
            reasons[refusal.field or refusal.reason] += 1
            example[refusal.field or refusal.reason] = f"{row.record.position}: {why}"
    for reason, count in reasons.items():
        what = (
            f"{count} of the newest {len(fitting)} {mapping.kind}s are refused: {example[reason]}"
        )
        attempt = "the path and the unit in the declaration; what was refused stays a dead letter"
        yield Finding("problem", "mapping", topic, what, attempt)


def _nothing_fits(topic: str, mapping: EventMapping, sample: list[Sampled]) -> Iterator[Finding]:
    for path, values in mapping.where:
        if any(is_one_of(pick(row.document, path), values) for row in sample):
            continue
        wanted = " or ".join(repr(value) for value in values)
        what = (
            f"no {mapping.kind} is copied: `where` wants {wanted} at {path.text}, and the newest "
            f"{len(sample)} records have {_found(path, sample)} there"
        )
        attempt = _AS_INTENDED.format(place=sample[-1].record.position)
        yield Finding("note", "mapping", topic, what, attempt)


def _found(path: Path, sample: list[Sampled]) -> str:
    """Name the values that are there, those that are there most often first."""
    there = Counter(_shown(pick(row.document, path)) for row in sample)
    return ", ".join(text for text, _ in there.most_common(_SHOWN_MAX))


def _shown(value: Any) -> str:
    return "nothing" if value is MISSING else repr(value)[:60]
