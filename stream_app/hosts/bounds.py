"""Where a range of the log begins and ends: what `--from` and `--to` may say, and what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from stream_app.codec.moments import iso_ms
from stream_app.core.commit import Manifest
from stream_app.core.joins import joins_from
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.hosts.event_positions import require_meant
from stream_app.hosts.first_where import first_where
from stream_app.hosts.manifests import commits, committed
from stream_app.records import format_position, parse_short_position

BATCH = 5000
# Hears what is being done, how many records of it are, and of how many.
Progress = Callable[[str, int, int], None]
EXAMPLES = (
    "earliest, latest, 0@1234 (partition 0, offset 1234), 2013-02-01 or 2013-02-01T12:00 (when "
    "the log took it in), -2d or -30m (so long ago), event:2013-02-01 (event time)"
)
_A_DAY = re.compile(r"(event:)?\d{4}-\d\d-\d\d")
_AGO = re.compile(r"-(\d+)([smhdw])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Earliest(NamedTuple):
    """All that is kept."""


class Latest(NamedTuple):
    """Behind all that is there."""


class Offset(NamedTuple):
    """That offset, in every partition."""

    offset: int


class Places(NamedTuple):
    """These offsets by partition, and no other partitions; `topic` where it was named."""

    offsets: Mapping[int, int]
    topic: str | None


class Appended(NamedTuple):
    """The first record that the log took in at this time (Unix ms) or later."""

    ms: int


class EventTime(NamedTuple):
    """The first record at which the fold's event time has come to this (Unix ms)."""

    ms: int


Bound = Earliest | Latest | Offset | Places | Appended | EventTime


class Bounds(NamedTuple):
    """From a place on, up to another one that is left out; each as people wrote it, too."""

    begin: Bound = Earliest()
    end: Bound = Latest()
    begin_text: str = "earliest"
    end_text: str = "latest"


class Range(NamedTuple):
    """A partition's offsets from `begin` to `end`, which is left out."""

    begin: int
    end: int


def parse_bounds(begin: str, end: str, now_ms: int) -> Bounds:
    """Return what `--from` and `--to` say; raises `UsageError` with examples of what to type."""
    first = parse_bound(begin, "--from", now_ms)
    return Bounds(first, parse_bound(end, "--to", now_ms), begin, end)


def parse_bound(text: str, option: str, now_ms: int) -> Bound:
    """Return what a bound says; `now_ms` is what `-2d` counts from. Raises `UsageError`."""
    if text == "earliest":
        return Earliest()
    if text == "latest":
        return Latest()
    if re.fullmatch(r"\d{1,18}", text):
        return Offset(int(text))
    if "@" in text:
        return _places(text, option)
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return Appended(now_ms - int(ago[1]) * _UNIT_MS[ago[2]])
    in_events = text.startswith("event:")
    try:
        ms = iso_ms(text.removeprefix("event:"))
    except (ValueError, OverflowError) as error:
        why = f"no such time: {error}" if _A_DAY.match(text) else "no such place"
        raise UsageError(f"{option} {text}: {why}", attempt=EXAMPLES) from None
    return EventTime(ms) if in_events else Appended(ms)


def _places(text: str, option: str) -> Places:
    offsets: dict[int, int] = {}
    topics = set[str]()
    for part in text.split(","):
        found = parse_short_position(part.strip())
        if found is None or found.partition in offsets:
            why = "no position" if found is None else "a partition that is there twice"
            raise UsageError(
                f"{option} {text}: {part.strip()!r} is {why}",
                attempt="0@1234 or flights.events/0@1234; several with commas, as 0@1234,1@990",
            )
        offsets[found.partition] = found.offset
        if found.topic is not None:
            topics.add(found.topic)
    if len(topics) > 1:
        raise UsageError(
            f"{option} {text}: positions in {' and '.join(sorted(topics))}",
            attempt="positions of one topic",
        )
    return Places(offsets, topics.pop() if topics else None)


def offsets_of(log: Log, topic: str, bound: Bound, *, option: str, text: str) -> dict[int, int]:
    """Return the offset of a bound in every partition of a topic, or in those that it names.

    Leaves out event time, which only the fold knows, and says nothing of what is kept.
    """
    partitions = log.topics()[topic]
    match bound:
        case Places(offsets, named):
            _require_own(offsets, named, topic, partitions, option, text)
            return dict(offsets)
        case Offset(offset):
            return dict.fromkeys(range(partitions), offset)
        case Earliest():
            return {p: log.bounds(topic, p)[0] for p in range(partitions)}
        case Latest():
            return {p: log.bounds(topic, p)[1] for p in range(partitions)}
        case Appended(ms):
            return {
                p: first_where(log, topic, p, lambda record: record.timestamp_ms >= ms)
                for p in range(partitions)
            }
        case EventTime():
            raise UsageError(
                f"{option} {text}: {topic} is not folded here, so its event time is not known",
                attempt=f"the time of append: {option} {text.removeprefix('event:')}",
            )


def _require_own(
    offsets: Mapping[int, int], named: str | None, topic: str, count: int, option: str, text: str
) -> None:
    if named not in (None, topic):
        raise UsageError(
            f"{option} {text}: {text} is not in {topic}", attempt=f"{option} {topic}/0@0"
        )
    for partition in offsets:
        require_meant(f"{option} {text}: {topic}", partition, count)


def ranges_of(
    log: Log,
    manifest: Manifest,
    bounds: Bounds,
    *,
    known: Mapping[str, object],
    progress: Progress | None = None,
    may_be_empty: bool = False,
) -> dict[int, Range]:
    """Return the range of events in each partition that the bounds leave, the end as committed.

    Raises `UsageError` for bounds that lie outside of what is kept, or leave nothing unless they
    `may_be_empty`.
    """
    topic = Topics(manifest.pipeline).events
    first = _resolved(log, manifest, bounds.begin, "--from", bounds.begin_text, known, progress)
    last = _resolved(log, manifest, bounds.end, "--to", bounds.end_text, known, progress)
    ranges = {}
    for partition in sorted(first.keys() & last.keys()):
        begin, end = first[partition], last[partition]
        commit = committed(log, manifest.pipeline, partition)
        done = manifest.origins[partition] if commit is None else commit.next_offset
        kept = log.bounds(topic, partition)
        _require_kept(topic, partition, begin, kept, "--from", bounds.begin_text)
        _require_kept(topic, partition, end, kept, "--to", bounds.end_text)
        if begin > end:
            raise UsageError(
                f"partition {partition} would begin at {begin} ({bounds.begin_text}) and end "
                f"before that, at {end} ({bounds.end_text})",
                attempt="--from the earlier place --to the later one",
            )
        begin = max(begin, manifest.origins[partition])
        ranges[partition] = Range(begin, max(begin, min(end, done)))
    if not may_be_empty and all(chosen.begin == chosen.end for chosen in ranges.values()):
        raise _nothing(log, manifest, bounds, ranges)
    return ranges


def _nothing(
    log: Log, manifest: Manifest, bounds: Bounds, ranges: Mapping[int, Range]
) -> UsageError:
    """Return the error for bounds that leave no event, with how far the fold has come."""
    topic = Topics(manifest.pipeline).events
    done = {
        p: manifest.origins[p] if commit is None else commit.next_offset
        for p, commit in enumerate(commits(log, manifest))
    }
    upto = ", ".join(format_position(topic, p, offset) for p, offset in done.items())
    if all(offset == manifest.origins[p] for p, offset in done.items()):
        return UsageError(
            f"{manifest.pipeline} has processed no event yet in {log.url}",
            attempt="stream-app run FILE, which does",
        )
    problem = (
        f"from {bounds.begin_text} to {bounds.end_text} {topic} has no event that was processed"
    )
    if all(chosen.begin >= done[p] for p, chosen in ranges.items()):
        return UsageError(
            f"{problem}: that is done up to {upto}{_shown(log, manifest, bounds)}",
            attempt=_earlier(bounds),
        )
    return UsageError(f"{problem}{_shown(log, manifest, bounds)}", attempt=_wider(bounds))


def _wider(bounds: Bounds) -> str:
    """Return what to try where a range is empty: many a date is meant as event time."""
    if isinstance(bounds.begin, Appended) and not bounds.begin_text.startswith("-"):
        return f"--from event:{bounds.begin_text}, if the events' own time is meant"
    return "a wider range, or none for everything"


def _earlier(bounds: Bounds) -> str:
    """Return what to try where all that is meant comes after what is processed."""
    if isinstance(bounds.begin, Appended):
        return _wider(bounds)
    return "an earlier --from; or stream-app run FILE, which processes more, if there is more"


def _resolved(
    log: Log,
    manifest: Manifest,
    bound: Bound,
    option: str,
    text: str,
    known: Mapping[str, object],
    progress: Progress | None,
) -> dict[int, int]:
    topic = Topics(manifest.pipeline).events
    if isinstance(bound, EventTime):
        return {
            p: _event_offset(log, manifest, p, bound.ms, known, progress)
            for p in range(manifest.partitions)
        }
    return offsets_of(log, topic, bound, option=option, text=text)


def _event_offset(
    log: Log,
    manifest: Manifest,
    partition: int,
    ms: int,
    known: Mapping[str, object],
    progress: Progress | None,
) -> int:
    """Fold acceptance up to the record that takes event time to `ms`; its offset, or the end."""
    topic = Topics(manifest.pipeline).events
    commit = committed(log, manifest.pipeline, partition)
    kept, end = log.bounds(topic, partition)
    offset = begin = max(kept, manifest.origins[partition])
    joins = joins_from(manifest, partition, offset, commit, known)
    while records := log.read(topic, partition, offset, records_max=BATCH):
        for record in records:
            joins.process(record)
            if joins.now_ms >= ms:
                return record.offset
        offset = records[-1].offset + 1
        if progress is not None:
            progress(f"event time of {topic}/{partition}", offset - begin, end - begin)
    return end


def _require_kept(
    topic: str, partition: int, offset: int, kept: tuple[int, int], option: str, text: str
) -> None:
    start, end = kept
    if start <= offset <= end:
        return
    place = format_position(topic, partition, offset)
    if offset < start:
        raise UsageError(
            f"{option} {text}: {place} is gone by retention; {topic}/{partition} begins at "
            f"{start} now",
            attempt=f"{option} earliest, or {partition}@{start}",
        )
    upto = f"{option} latest, or an offset up to" if option == "--to" else "an offset below"
    raise UsageError(
        f"{option} {text}: {place} is beyond the end of {topic}/{partition}, which is {end}",
        attempt=f"{upto} {end}",
    )


def _shown(log: Log, manifest: Manifest, bounds: Bounds) -> str:
    """Say from when to when the log has taken events in, or their own time has come."""
    if isinstance(bounds.begin, EventTime):
        times = [commit.watermark_ms for commit in commits(log, manifest) if commit is not None]
        return f"; event time has come to {_utc(max(times))}" if times else ""
    if not isinstance(bounds.begin, Appended) and not isinstance(bounds.end, Appended):
        return ""
    topic = Topics(manifest.pipeline).events
    times = []
    for partition in range(manifest.partitions):
        start, end = log.bounds(topic, partition)
        times += [r.timestamp_ms for r in log.read(topic, partition, start, records_max=1)]
        for back in (1, 2, 3):  # Kafka's log may end with markers
            newest = log.read(topic, partition, max(start, end - back), records_max=1)
            times += [r.timestamp_ms for r in newest]
    if not times:
        return ""
    return f"; its events came in from {_utc(min(times))} to {_utc(max(times))}"


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
