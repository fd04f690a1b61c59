"""Finds what was published: of a position by halving, of an observation's id from the newest on."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.errors import UsageError
from stream_app.hosts.event_positions import require_meant
from stream_app.hosts.first_where import first_where
from stream_app.hosts.published_rows import source_offset
from stream_app.near_names import did_you_mean, near_name
from stream_app.records import Record, format_position, parse_short_position

WINDOW = 2000
IDS_REMEMBERED_MAX = 20_000
_OUTPUT = re.compile(
    r"(?P<pipeline>[a-z0-9-]+)/(?:(?P<version>[a-z0-9-]+)/)?(?P<partition>\d+)@(?P<offset>\d+)/.+"
)
_LIKE_POSITION = re.compile(r"(?:.*/)?\d+@")
Progress = Callable[[int, int], None]


def find(
    log: Log, manifest: Manifest, text: str, progress: Progress | None = None
) -> tuple[int, int, str | None]:
    """Return (partition, offset, version if the text names one) of what `text` means.

    That is a position of an event or of an output, an output's id, or an observation's id, which
    is looked for among the predictions from the newest on. Raises `UsageError`.
    """
    topics = Topics(manifest.pipeline)
    if (position := parse_short_position(text)) is not None:
        topic, number, offset = position
        require_meant(manifest.pipeline, number, manifest.partitions)
        if topic in (None, topics.events):
            return number, offset, None
        return _of_output(log, manifest, topic, number, offset)
    if (match := _OUTPUT.fullmatch(text)) is not None and match["pipeline"] == manifest.pipeline:
        number = int(match["partition"])
        require_meant(manifest.pipeline, number, manifest.partitions)
        return number, int(match["offset"]), match["version"]
    return _of_observation(log, manifest, text, progress)


def _of_output(
    log: Log, manifest: Manifest, topic: str, partition: int, offset: int
) -> tuple[int, int, str | None]:
    """Return the cause of the output at a position."""
    known = Topics(manifest.pipeline).outputs(log.topics())
    if topic not in known:
        events = Topics(manifest.pipeline).events
        raise UsageError(
            f"{topic} is no topic of {manifest.pipeline}",
            attempt=f"{near_name(topic, [events, *known]) or events}/{partition}@{offset}",
        )
    record = next(iter(log.read(topic, partition, offset, records_max=1)), None)
    if record is None or record.offset != offset:
        raise UsageError(
            f"{format_position(topic, partition, offset)} has no record",
            attempt=f"stream-app consume {topic} --from latest",
        )
    headers = dict(record.headers)
    version = headers.get("version")
    return partition, cause(record), None if version is None else version.decode()


def _of_observation(
    log: Log, manifest: Manifest, observation_id: str, progress: Progress | None
) -> tuple[int, int, str | None]:
    topic = Topics(manifest.pipeline).predictions
    wanted = observation_id.encode()
    seen: deque[str] = deque(maxlen=IDS_REMEMBERED_MAX)
    bounds = {p: log.bounds(topic, p) for p in range(manifest.partitions)}
    total = sum(end - start for start, end in bounds.values())
    done = 0
    for partition, (start, end) in bounds.items():
        for begin in range(max(start, end - WINDOW), start - WINDOW, -WINDOW):
            stop, first = begin + WINDOW, max(start, begin)
            for record in reversed(_window(log, topic, partition, first, min(stop, end))):
                found = dict(record.headers).get("observation-id", b"")
                if found == wanted:
                    return partition, cause(record), None
                if len(seen) < IDS_REMEMBERED_MAX:
                    seen.append(found.decode("utf-8", "replace"))
            done += min(stop, end) - first
            if progress is not None:
                progress(done, total)
    raise _not_found(manifest, observation_id, seen, any(start for start, _ in bounds.values()))


def _not_found(
    manifest: Manifest, observation_id: str, seen: Iterable[str], gone: bool
) -> UsageError:
    name, topics = manifest.pipeline, Topics(manifest.pipeline)
    near = did_you_mean(observation_id, seen)
    if _LIKE_POSITION.match(observation_id) and not near:
        return UsageError(
            f"{observation_id!r} is no position, and {topics.predictions} has no prediction for an "
            "observation of that id",
            attempt=f"{topics.events}/0@1234, or 0@1234: partition 0, offset 1234",
        )
    attempt = (
        f"its position, if retention has deleted the prediction: {topics.events}/0@1234"
        if gone
        else f"stream-app dead-letters {name}, if it was refused; stream-app status {name} tells "
        "how far the log is processed"
    )
    return UsageError(
        f"{topics.predictions} has no prediction for an observation {observation_id!r}{near}",
        attempt=attempt,
    )


def _window(log: Log, topic: str, partition: int, begin: int, end: int) -> list[Record]:
    """Return the records in [begin, end), which may have holes."""
    rows: list[Record] = []
    while begin < end:
        read = log.read(topic, partition, begin, records_max=end - begin)
        rows += [record for record in read if record.offset < end]
        if not read or read[-1].offset + 1 >= end:
            break
        begin = read[-1].offset + 1
    return rows


def published_at(log: Log, topic: str, partition: int, offset: int) -> list[Record] | None:
    """Return the outputs in a topic that the event at `offset` caused.

    None when it cannot be told: retention has deleted outputs that far back. Outputs are in the
    order of what caused them, so the place is found by halving.
    """
    if topic not in log.topics():
        return []
    start = log.bounds(topic, partition)[0]
    low = first_where(log, topic, partition, lambda record: cause(record) >= offset)
    rows: list[Record] = []
    while records := log.read(topic, partition, low, records_max=64):
        rows += [record for record in records if cause(record) == offset]
        if cause(records[-1]) > offset:
            break
        low = records[-1].offset + 1
    oldest = next(iter(log.read(topic, partition, start, records_max=1)), None)
    if not rows and start > 0 and (oldest is None or cause(oldest) > offset):
        return None
    return rows


def cause(record: Record) -> int:
    """Return the offset of the event that caused an output; raises `UsageError` if it has none."""
    offset = source_offset(record)
    if offset is None:
        raise UsageError(
            f"{record.position} does not name the event that caused it",
            attempt="stream-app replay FILE, which tells what was changed in the log",
        )
    return offset
