from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from stream_app.datasets import flight_tables
from stream_app.datasets.flight_tables import MISSING, WIND_SPEED_MAX, FlightTables
from stream_app.datasets.flights import FLIGHTS_FEATURES, flights
from stream_app.errors import SurroundingsError, UsageError
from stream_app.events import Label, Observation


@pytest.fixture(scope="module")
def january() -> list[Observation | Label]:
    return list(flights(days=4))


def at(ts_ms: int, zone: str = "UTC") -> str:
    return datetime.fromtimestamp(ts_ms / 1000, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type,misc]


def pairs(
    events: Iterable[Observation | Label],
) -> tuple[dict[str, Observation], dict[str, Label]]:
    observations: dict[str, Observation] = {}
    labels: dict[str, Label] = {}
    for event in events:
        if isinstance(event, Observation):
            assert event.id not in observations
            observations[event.id] = event
        else:
            assert event.id in observations, "a label came before its observation"
            assert event.id not in labels
            labels[event.id] = event
    return observations, labels


def test_the_year_is_complete_and_in_event_order_with_every_id_once() -> None:
    ids: set[str] = set()
    waiting: dict[str, str | None] = {}
    counts: Counter[str] = Counter()
    before = (0, 0, "")
    in_the_air_max = 0
    for event in flights():
        rank = isinstance(event, Observation)
        now = (event.ts_ms, int(rank), event.id)
        assert before < now
        before = now
        if isinstance(event, Observation):
            assert event.id not in ids
            ids.add(event.id)
            waiting[event.id] = event.key
        else:
            assert waiting.pop(event.id) == event.key
            counts["labels"] += 1
            counts["late"] += event.label is True
        in_the_air_max = max(in_the_air_max, len(waiting))
    # 336,776 scheduled, 8,255 cancelled; 1,175 never landed where they should.
    assert len(ids) == 336_776 - 8_255
    assert counts == {"labels": 327_346, "late": 77_630}
    assert len(waiting) == 1_175
    assert in_the_air_max < 2_000


def test_the_first_flight_of_the_year_is_the_first_event(
    january: list[Observation | Label],
) -> None:
    assert january[0] == Observation(
        id="UA1545-20130101-EWR",
        ts_ms=ms(2013, 1, 1, 10, 17),  # 05:17 in New York
        key="EWR",
        features={
            "carrier": "UA",
            "dep_delay": 2.0,
            "dest": "IAH",
            "distance": 1400.0,
            "month": 1,
            "precip": 0.0,
            "sched_dep_hour": 5,
            "temp": 39.02,
            "visib": 10.0,
            "weekday": 2,
            "wind_speed": 12.658579999999999,
        },
    )


def test_a_label_comes_when_the_flight_lands_by_the_destinations_clock(
    january: list[Observation | Label],
) -> None:
    observations, labels = pairs(january)
    houston = labels["UA1545-20130101-EWR"]
    assert (at(houston.ts_ms, "America/Chicago"), houston.label) == ("2013-01-01 08:30", False)
    miami = labels["AA1141-20130101-JFK"]
    assert (at(miami.ts_ms, "America/New_York"), miami.label) == ("2013-01-01 09:23", True)
    san_juan = labels["B6709-20130101-JFK"]
    assert at(san_juan.ts_ms, "America/Puerto_Rico") == "2013-01-01 10:39"
    assert miami.key == observations[miami.id].key == "JFK"


def test_a_flight_leaves_and_lands_on_the_other_side_of_midnight(
    january: list[Observation | Label],
) -> None:
    observations, labels = pairs(january)
    # scheduled 17:24, left 23:43, in the air 222 minutes, landed 03:14 in Kansas City
    kansas_city = "EV4321-20130101-EWR"
    assert at(observations[kansas_city].ts_ms) == "2013-01-02 04:43"
    assert at(labels[kansas_city].ts_ms, "America/Chicago") == "2013-01-02 03:14"
    assert labels[kansas_city].label is True


def test_a_delay_carries_a_departure_into_the_next_day() -> None:
    observations, _ = pairs(flights(start=date(2013, 3, 10), days=1))
    # scheduled for the 10th at 21:00, left at 00:41, when clocks had already changed
    assert at(observations["EV4368-20130310-EWR"].ts_ms) == "2013-03-11 04:41"


def test_a_night_without_its_third_hour_is_flown_in_real_minutes() -> None:
    observations, labels = pairs(flights(start=date(2013, 3, 9), days=1))
    # the table's clock was not changed in the air: it says 02:03, a time that night did not have
    palm_beach = "B635-20130309-JFK"
    assert at(observations[palm_beach].ts_ms, "America/New_York") == "2013-03-09 23:06"
    assert at(labels[palm_beach].ts_ms, "America/New_York") == "2013-03-10 03:03"
    assert labels[palm_beach].ts_ms - observations[palm_beach].ts_ms == (2 * 60 + 57) * 60_000


@pytest.mark.parametrize("start", [date(2013, 3, 10), date(2013, 11, 2), date(2013, 7, 3)])
def test_every_clock_in_the_table_agrees_with_the_stream(start: date) -> None:
    observations, labels = pairs(flights(start=start, days=2))
    tables = FlightTables()
    zones = tables.zones()
    compared = 0
    for day in (start, start.replace(day=start.day + 1)):
        for row in tables.rows(day):
            flight = f"{row.carrier}{row.flight}-{day:%Y%m%d}-{row.origin}"
            if row.dep_time in MISSING:
                assert flight not in observations
                continue
            left = observations[flight].ts_ms
            assert at(left, "America/New_York")[11:] == clock(row.dep_time)
            if row.arr_delay in MISSING:
                assert flight not in labels
                continue
            landed = labels[flight].ts_ms
            assert at(landed, zones[row.dest])[11:] == clock(row.arr_time)
            scheduled = landed - int(row.arr_delay) * 60_000
            assert at(scheduled, zones[row.dest])[11:] == clock(row.sched_arr_time)
            assert 5 <= (landed - left) / 60_000 - int(row.air_time) <= 240
            compared += 1
    assert compared > 1_000


def clock(hmm: str) -> str:
    return f"{int(hmm) // 100 % 24:02}:{int(hmm) % 100:02}"


def test_a_part_of_the_year_is_what_the_whole_year_has_of_those_days(
    january: list[Observation | Label],
) -> None:
    def scheduled_on(event: Observation | Label) -> bool:
        return event.id.split("-")[1] in ("20130102", "20130103")

    part = list(flights(start=date(2013, 1, 2), days=2))
    assert part == list(filter(scheduled_on, january))


def test_features_are_the_declared_ones_and_missing_weather_is_absent() -> None:
    kinds: dict[str, set[type]] = {name: set() for name in FLIGHTS_FEATURES}
    absent: Counter[str] = Counter()
    observations, _ = pairs(flights(start=date(2013, 8, 22), days=1))
    for observation in observations.values():
        for name, kind in FLIGHTS_FEATURES.items():
            if name in observation.features:
                assert isinstance(observation.features[name], kind)
                kinds[name].add(type(observation.features[name]))
            else:
                absent[name] += 1
        assert observation.features.keys() <= kinds.keys()
    assert all(len(kind) == 1 for kind in kinds.values())
    assert absent.keys() == {"precip", "temp", "visib", "wind_speed"}
    assert absent["temp"] < len(observations)


def test_what_no_station_measured_and_a_wind_that_never_blew_are_absent() -> None:
    weather = FlightTables().weather()
    assert weather["EWR", ms(2013, 8, 22, 13)] == {
        "precip": 0.13,
        "visib": 7.0,
        "wind_speed": 12.658579999999999,
    }
    broken = weather["EWR", ms(2013, 2, 12, 8)]
    assert "wind_speed" not in broken
    assert broken["temp"] == 39.02
    assert max(hour.get("wind_speed", 0.0) for hour in weather.values()) < WIND_SPEED_MAX / 4


def test_days_beyond_the_end_of_the_year_are_left_out() -> None:
    events = list(flights(start=date(2013, 12, 31), days=7))
    assert events == list(flights(start=date(2013, 12, 31)))
    assert 700 < sum(isinstance(event, Observation) for event in events) < 776


@pytest.mark.parametrize(
    ("start", "days"), [(date(2012, 12, 31), None), (date(2014, 1, 1), 3), (date(2013, 1, 1), 0)]
)
def test_days_without_flights_are_a_usage_error_at_the_call(start: date, days: int | None) -> None:
    with pytest.raises(UsageError, match="2013-01-01 to 2013-12-31"):
        flights(start=start, days=days)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.path_importer_cache", {})
    monkeypatch.setattr("sys.meta_path", [])
    with pytest.raises(UsageError, match=r"pip install 'stream-app\[demo\]'"):
        flights()


def test_a_damaged_table_is_named_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flights.csv.zip").write_bytes(b"PK\x03\x04 and then nothing")
    monkeypatch.setattr(flight_tables, "_data_folder", lambda: tmp_path)
    with pytest.raises(SurroundingsError, match=r"flights\.csv\.zip.* --force-reinstall"):
        flights()
