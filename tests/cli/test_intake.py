"""`intake` as a person meets it: other people's topics in, predictions and dead letters out."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import T0, json_lines
from tests.cli.terminal import Terminal, assert_error

DECLARATION = """
from river import linear_model

from stream_app import Binary, Intake, Pipeline, RecordPart, Version

pipeline = Pipeline(
    "trips",
    task=Binary(),
    features={"delay": float, "wind": float | None},
    versions={"v1": Version(linear_model.LogisticRegression())},
    digest_every=50,
    intake=[
        Intake(
            "departures",
            kind="observation",
            id=("flight.number", "flight.day"),
            key="flight.airport",
            timestamp="at",
            timestamp_unit="s",
            features={"delay": "delays.0", "wind": "weather.wind"},
        ),
        Intake(
            "arrivals",
            kind="label",
            id="flight",
            key="from",
            timestamp="at",
            timestamp_unit="s",
            label="late",
            where={"type": "landed"},
        ),
    ],
)
"""
FLIGHTS = 120


def departure(i: int, **more: object) -> dict[str, object]:
    flight = {"number": i, "day": "mon", "airport": f"A{i % 3}"}
    return {"flight": flight, "at": T0 / 1000 + i, "delays": [i % 7, None], **more}


def arrival(i: int, **more: object) -> dict[str, object]:
    row = {"flight": f"{i}/mon", "from": f"A{i % 3}", "at": T0 / 1000 + i + 60, "late": i % 7 > 3}
    return {"type": "landed", **row, **more}


@pytest.fixture
def trips(tmp_path: Path) -> Path:
    """A directory with nothing but the declaration."""
    (tmp_path / "trips.py").write_text(DECLARATION)
    return tmp_path


def test_other_peoples_topics_become_predictions_and_dead_letters_that_a_replay_finds_again(
    terminal: Terminal, trips: Path
) -> None:
    bad = [departure(500) | {"at": "yesterday"}, departure(501) | {"delays": ["?"]}]
    rows = [*(departure(i) for i in range(FLIGHTS)), *bad]
    landed = [*(arrival(i) for i in range(FLIGHTS)), arrival(0, type="taxi"), arrival(1, late=None)]
    for topic, lines in (("departures", rows), ("arrivals", landed)):
        sent = terminal.run(
            trips, "produce", "trips.py", "--topic", topic, "--json", stdin=json_lines(*lines)
        )
        assert sent.json()[0]["acknowledged"] == FLIGHTS + 2, sent
    again = [terminal.run(trips, "intake", "trips.py", "--until-end") for _ in range(2)]
    assert [ended.code for ended in again] == [0, 0], again
    assert '"records": 0' in again[1].err
    ran = terminal.run(trips, "run", "trips.py", "--until-end")
    assert ran.code == 0, ran
    predictions = terminal.run(trips, "consume", "trips.predictions").json()
    assert len(predictions) == FLIGHTS
    [seen] = terminal.run(trips, "status", "trips", "--json").json()
    assert seen["partitions"][0]["counters"]["labels_joined"] == FLIGHTS
    assert [
        (row["source"], row["copied"], row["refused"], row["skipped"]) for row in seen["intake"]
    ] == [
        ("arrivals/0", FLIGHTS, 1, 1),
        ("departures/0", FLIGHTS + 1, 1, 0),
    ]
    letters = terminal.run(trips, "dead-letters", "trips", "--json").json()
    assert {(row["reason"], row["field"], row["copied_from"]) for row in letters} == {
        ("wrong_type", "ts_ms", f"departures/0@{FLIGHTS}"),
        ("wrong_type", "features.delay", f"departures/0@{FLIGHTS + 1}"),
        ("missing_field", "label", f"arrivals/0@{FLIGHTS + 1}"),
    }
    table = terminal.run(trips, "dead-letters", "trips").out
    assert f"(from departures/0@{FLIGHTS})" in table
    replayed = terminal.run(trips, "replay", "trips.py")
    assert replayed.code == 0, replayed
    assert "no difference" in replayed.out


def test_it_copies_what_comes_until_it_is_told_to_end_and_says_where_it_is(
    terminal: Terminal, trips: Path
) -> None:
    running = terminal.start(trips, "intake", "trips.py", "--http", "0")
    running.wait_for(lambda: "http_listening" in running.err())
    found = re.search(r'"url": "([^"]+)"', running.err())
    assert found is not None
    terminal.run(trips, "produce", "trips.py", "--topic", "arrivals", stdin=json_lines(arrival(1)))

    def copied() -> bool:
        text = urllib.request.urlopen(f"{found[1]}/metrics", timeout=10).read().decode()
        return 'stream_app_intake_copied_total{partition="arrivals/0",pipeline="trips"} 1.0' in text

    running.wait_for(copied)
    ready = json.load(urllib.request.urlopen(f"{found[1]}/readyz", timeout=10))
    assert [row["partition"] for row in ready["partitions"]] == ["arrivals/0", "departures/0"]
    second = terminal.run(trips, "intake", "trips.py")
    assert_error(second, 4, "departures/0", str(running.pid))
    ended = running.stop(signal.SIGTERM)
    assert ended.code == 0
    assert '"because": "SIGTERM"' in ended.err


def test_the_doctor_says_which_paths_of_the_mapping_find_nothing_in_the_sources(
    terminal: Terminal, trips: Path
) -> None:
    rows = json_lines(*(departure(i) for i in range(3)), departure(4, at="12:00"))
    terminal.run(trips, "produce", "trips.py", "--topic", "departures", stdin=rows)
    taxis = json_lines(*(arrival(i, type="taxi") for i in range(2)), {"from": "A1"})
    terminal.run(trips, "produce", "trips.py", "--topic", "arrivals", stdin=taxis)
    looked = terminal.run(trips, "doctor", "trips.py", "--json")
    found = {row["what"]: row["level"] for row in looked.json() if row["check"] == "mapping"}
    assert looked.code == 5
    assert found == {
        "feature wind: nothing is at weather.wind in any of the newest 4 records": "note",
        "1 of the newest 4 observations are refused: departures/0@3: ts_ms: at: '12:00' is no time "
        "in Unix seconds": "problem",
        "no label is copied: `where` wants 'landed' at type, and the newest 3 records have 'taxi', "
        "nothing there": "note",
    }


def test_a_position_can_be_set_and_going_back_copies_again(terminal: Terminal, trips: Path) -> None:
    rows = json_lines(*(departure(i) for i in range(3)))
    terminal.run(trips, "produce", "trips.py", "--topic", "departures", stdin=rows)
    terminal.run(trips, "intake", "trips.py", "--until-end")
    back = terminal.run(trips, "intake", "trips.py", "--until-end", "--skip-to", "departures/0@1")
    assert '"event": "position_set"' in back.err
    copies = terminal.run(trips, "consume", "trips.events").out.splitlines()
    assert len(copies) == 3 + 2
    for wrong in ("departures/0@9", "departures/4@0", "elsewhere/0@0", "departures"):
        ended = terminal.run(trips, "intake", "trips.py", "--until-end", "--skip-to", wrong)
        assert_error(ended, 2, "--skip-to")


def test_what_cannot_be_copied_is_said(terminal: Terminal, trips: Path, empty: Path) -> None:
    ended = terminal.run(trips, "produce", "trips.py", "--topic", "elsewhere", stdin="{}\n")
    assert_error(ended, 2, "declares no intake from elsewhere", "departures, arrivals")
    assert_error(terminal.run(empty, "intake", "shop.py"), 2, "shop declares no intake")
