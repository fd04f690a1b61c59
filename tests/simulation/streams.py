"""What has to hold of versions, whenever each of them was built, joined, seated or dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stream_app.core.commit import Commit, decode_commit
from stream_app.core.topics import Topics
from stream_app.records import Headers
from tests.simulation.lineages import Lineages
from tests.simulation.reference import ReferenceFold, Seating
from tests.simulation.simulation import (
    Outcome,
    Rows,
    Wrong,
    check_places,
    offset_of,
    seats_of,
    version_of,
)
from tests.simulation.world import NAME, VERSIONS

Output = tuple[int, bytes, bytes | None, Headers]
ACCEPTANCE = ""


def check_streams(
    calm: Outcome, reference: ReferenceFold, lineages: Lineages, storm: Outcome
) -> None:
    """Raise `Wrong` unless all that is out is what the calm run has, once, each in its place."""
    live = lineages.live()
    if live.next_offset != _commit(calm).next_offset:
        raise Wrong(f"it ended at {live.next_offset}, not at {_commit(calm).next_offset}")
    ours, theirs = _by_version(storm.topics), _by_version(calm.topics)
    for version in [ACCEPTANCE, *VERSIONS]:
        to = live.next_offset if version == ACCEPTANCE else lineages.published_to(version)
        begin = lineages.begins.get(version, 0)
        expected = [row for row in theirs.get(version, []) if begin <= row[0] < to]
        _require_rows(ours.get(version, []), expected, version or "acceptance")
    for topic, rows in storm.topics.items():
        offsets = [offset_of(headers) for _, _, headers in rows]
        if offsets != sorted(offsets):
            raise Wrong(f"{topic} is not in the order of its sources: {offsets}")
    _check_seats(reference, lineages, storm)
    predicted, accepted = map(_observations, (storm, calm))
    if predicted != accepted:
        raise Wrong(f"predictions are of {predicted}, not of {accepted}")


def check_all_joined(calm: Outcome, storm: Outcome, begins: Mapping[str, int]) -> None:
    """Raise `Wrong` unless, once all versions are live, nothing tells that they were not before.

    But for where their outputs begin, which is to be where backfills were told.
    """
    if calm.digests != storm.digests:
        raise Wrong(f"state digests differ: {storm.digests} in place of {calm.digests}")
    one, other = _without_seats(calm), _without_seats(storm)
    for name, version in one["versions"].items():
        version["published_from"] = begins.get(name, version["published_from"])
    if one != other:
        raise Wrong(f"the commit is {other} in place of {one}")


def _check_seats(reference: ReferenceFold, lineages: Lineages, storm: Outcome) -> None:
    live = lineages.live()
    seating = Seating(lineages.world.champion, storm.seated, lineages.hosted)
    for order in reference.promotes:
        if order.at < live.next_offset:
            seating.reach(order.at)
            failed = [name for name, at in reference.failed_at.items() if at < order.at]
            seating.promote(order, failed)
    seating.reach(live.next_offset)
    if seats_of(storm.commit) != seating.rows or live.seat.champion != seating.champion:
        raise Wrong(f"seats: {seats_of(storm.commit)} in place of {seating.rows}")
    check_places(storm.topics, seating)
    for name, at in reference.failed_at.items():
        if at < live.next_offset and seating.champion_at(at) == name:
            raise Wrong(f"{name} was champion at {at}, where it failed: {seating.rows}")
    for name, at in live.left.items():
        if at > 0 and name not in live.left_definitions:
            raise Wrong(f"nobody knows what {name} was that left at {at}")


def _commit(outcome: Outcome) -> Commit:
    assert outcome.commit is not None
    return decode_commit(outcome.commit, NAME)


def _without_seats(outcome: Outcome) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(_commit(outcome))
    del fields["seat"], fields["seats"]
    return fields


def _by_version(topics: dict[str, Rows]) -> dict[str, list[Output]]:
    """Return what each version has put out, whatever its role was; acceptance's under no name."""
    found: dict[str, list[Output]] = {}
    for rows in topics.values():
        for key, value, headers in rows:
            row = (offset_of(headers), value, key, headers)
            found.setdefault(version_of(headers), []).append(row)
    for outputs in found.values():
        outputs.sort(key=lambda row: row[:2])
    return found


def _observations(outcome: Outcome) -> list[bytes]:
    rows = outcome.topics[Topics(NAME).predictions]
    return [dict(headers)["observation-id"] for _, _, headers in rows]


def _require_rows(rows: list[Output], expected: list[Output], whose: str) -> None:
    for one, other in zip(rows, expected, strict=False):
        if one != other:
            raise Wrong(f"{whose}: {one} in place of {other}")
    if len(rows) != len(expected):
        raise Wrong(f"{whose}: {len(rows)} outputs in place of {len(expected)}")
