"""Where a range begins and ends: every way to write a place, and what is wrong with the others."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from river import dummy

from stream_app.core.commit import Manifest
from stream_app.core.pipeline import Pipeline, Version
from stream_app.errors import UsageError
from stream_app.events import Observation
from stream_app.hosts.bounds import Appended, Range, parse_bound, parse_bounds, ranges_of
from stream_app.learning.tasks import Binary
from stream_app.storage.memory_log import MemoryLog
from tests.core.history import Entry, History
from tests.hosts.folded import folded

DAY = 86_400_000
T0 = 1_357_000_000_000
APPENDED = 1_700_000_000_000
EVENTS = 300


def _log() -> tuple[MemoryLog, Manifest]:
    """Event n happened at n minutes, came in at n seconds, and has offset n + 10 from 100 on."""
    history = History(
        Pipeline("p", task=Binary(), versions={"v1": Version(dummy.PriorClassifier())})
    )
    for i in range(EVENTS):
        wrong = 7 * DAY if i == 50 else 0  # a clock that is wrong moves nothing
        event = Observation(f"o{i}", T0 + i * 60_000 + wrong, {"x": 1.0})
        history.add(event, append_ms=APPENDED + i * 1000)
    before = history.entries[100]
    history.entries[100] = Entry(before.value, before.key, before.append_ms, hole=10)
    return folded(history)


def _range(begin: str, end: str = "latest", now_ms: int = APPENDED) -> Range:
    log, manifest = _log()
    return ranges_of(log, manifest, parse_bounds(begin, end, now_ms), known={})[0]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("earliest", "latest", (0, 310)),
        ("7", "0@9", (7, 9)),
        ("p.events/0@7", "p.events/0@9", (7, 9)),
        ("2023-11-14T22:13:30", "2023-11-14T22:13:40Z", (10, 20)),  # APPENDED is 22:13:20
        ("2023-11-14T23:13:30+01:00", "latest", (10, 310)),
        ("2023-11-14T22:15:00", "2023-11-14T22:15:01", (110, 111)),  # behind the hole
        ("2023-11-14", "2023-11-15", (0, 310)),
    ],
)
def test_a_place_may_be_written_in_many_ways(
    begin: str, end: str, expected: tuple[int, int]
) -> None:
    assert _range(begin, end) == expected


def test_so_long_ago_counts_from_now() -> None:
    assert _range("-30s", "-10s", now_ms=APPENDED + 60_000) == (30, 50)
    assert parse_bound("-2d", "--from", 5 * DAY) == Appended(3 * DAY)


def test_event_time_is_the_folds_own_and_one_wrong_clock_does_not_move_it() -> None:
    """The lower median of 101 times that grow by a minute is 50 minutes behind the newest."""
    text = datetime.fromtimestamp((T0 + 60 * 60_000) / 1000, UTC).isoformat()
    found = _range(f"event:{text}").begin
    # By hand: the first event behind which the median of the newest 101 times is 60 minutes.
    log, _ = _log()
    times: list[int] = []
    for record in log.read("p.events", 0, 0, records_max=1 << 20):
        times = [*times, json.loads(record.value)["ts_ms"]][-101:]
        if sorted(times)[(len(times) - 1) // 2] >= T0 + 60 * 60_000:
            assert found == record.offset
            break
    assert found > 100


@pytest.mark.parametrize(
    ("begin", "end", "problem", "attempt"),
    [
        ("rubbish", "latest", "--from rubbish: no such place", "event:2013-02-01"),
        (
            "2013-02-31",
            "latest",
            "--from 2013-02-31: no such time: day is out of range",
            "2013-02-01",
        ),
        (
            "earliest",
            "event:2013-13-01",
            "no such time: month must be in 1..12",
            "event:2013-02-01",
        ),
        ("earliest", "event:soon", "--to event:soon: no such place", "2013-02-01"),
        ("-3x", "latest", "no such place", "-2d"),
        ("0@x", "latest", "'0@x' is no position", "0@1234"),
        ("0@1,0@2", "latest", "a partition that is there twice", "commas"),
        ("1@5", "latest", "p.events has no partition 1", "partition 0, the only one"),
        ("q.events/0@5", "latest", "is not in p.events", "p.events/0@0"),
        ("0@400", "latest", "beyond the end of p.events/0, which is 310", "an offset below 310"),
        ("0@9", "0@400", "beyond the end of p.events/0", "--to latest, or an offset up to 310"),
        ("0@9", "0@7", "would begin at 9", "the earlier place"),
        ("0@9", "0@9", "from 0@9 to 0@9 p.events has no event that was processed", "wider range"),
        ("latest", "latest", "that is done up to p.events/0@310", "an earlier --from"),
        (
            "event:2100-01-01",
            "latest",
            "; event time has come to 2013-01-01T0",
            "an earlier --from",
        ),
        ("2100-01-01", "latest", "; its events came in from 2023-11-14T22", "event:2100-01-01"),
        ("2013-01-01", "2013-02-01", "no event that was processed", "event:2013-01-01"),
    ],
)
def test_what_is_no_place_is_told_with_what_to_type(
    begin: str, end: str, problem: str, attempt: str
) -> None:
    with pytest.raises(UsageError) as raised:
        _range(begin, end)
    assert problem in raised.value.problem
    assert attempt in raised.value.attempt


def test_a_place_that_retention_has_removed_is_no_place() -> None:
    log, manifest = _log()
    log.retain("p.events", 0, from_offset=40)
    with pytest.raises(UsageError, match=r"p\.events/0@7 is gone by retention") as raised:
        ranges_of(log, manifest, parse_bounds("0@7", "latest", 0), known={})
    assert "0@40" in raised.value.attempt
    assert ranges_of(log, manifest, parse_bounds("earliest", "latest", 0), known={})[0] == (40, 310)
