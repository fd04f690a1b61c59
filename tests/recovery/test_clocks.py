"""Clocks that jump by hours, and other time zones: append times never fall, results stay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path

from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.terminal import PROGRAM, clean_environment, real
from tests.cli.test_workers import wait_for

SHIFTING = Path(__file__).with_name("shifted_clock")
HOUR_S = 3600
# Forwards, then further back than where it began, then forwards again; each in a zone of its own.
JUMPS = [(7, "Pacific/Kiritimati"), (-9, "America/New_York"), (0, "Asia/Kolkata")]
EACH = 40


def _replace_whole(place: Path, text: str) -> None:
    draft = place.with_suffix(".new")
    draft.write_text(text)
    draft.replace(place)


def _events(part: int) -> str:
    rows = [observation(n, label=n % 3 == 0) for n in range(part * EACH, (part + 1) * EACH)]
    refused = {"kind": "label", "id": f"o{part * EACH}", "label": 7}
    return json_lines(*rows, refused)


def _produced(directory: Path, events: str, environment: dict[str, str]) -> None:
    file = directory / "events.jsonl"
    file.write_text(events)
    ended = real(directory, "produce", "shop.py", file.name, "--send-bad", "--json", **environment)
    assert json.loads(ended.out.splitlines()[0])["acknowledged"] == events.count("\n"), ended


def _results(directory: Path) -> list[tuple[str, dict[str, object]]]:
    """Return all outputs without append times and what is made of them."""
    rows: list[tuple[str, dict[str, object]]] = []
    with closing(SqliteLog.open(directory / ".stream-app/log.db", create=False)) as log:
        for topic in sorted(log.topics()):
            if topic == "shop.events":
                continue
            for record in log.read(topic, 0, 0, records_max=1 << 30):
                value = json.loads(record.value)
                if value["kind"] in {"dead_letter", "state_digest"}:
                    del value["ts_ms"]  # the append time of the record that caused it
                    value.pop("chain", None)  # which covers append times
                rows.append((topic, value))
    return rows


def _append_times(directory: Path) -> list[int]:
    with closing(SqliteLog.open(directory / ".stream-app/log.db", create=False)) as log:
        records = log.read("shop.events", 0, 0, records_max=1 << 30)
    return [record.timestamp_ms for record in records]


def test_a_clock_that_jumps_and_other_zones_change_append_times_alone(tmp_path: Path) -> None:
    jumping, steady = tmp_path / "jumping", tmp_path / "steady"
    clock = tmp_path / "clock"
    _replace_whole(clock, "0")
    shifted = {"PYTHONPATH": str(SHIFTING), "SHIFTED_CLOCK": str(clock)}
    for directory in (jumping, steady):
        directory.mkdir()
        (directory / "shop.py").write_text(DECLARATION)
    _produced(jumping, _events(0), shifted)
    environment = {**clean_environment(), **shifted, "TZ": "Europe/Berlin"}
    with subprocess.Popen(
        [PROGRAM, "run", "shop.py"], cwd=jumping, env=environment, stderr=subprocess.DEVNULL
    ) as running:
        try:
            for part, (hours, zone) in enumerate(JUMPS, start=1):
                wait_for(lambda part=part: _predicted(jumping) == part * EACH)  # type: ignore[misc]
                _replace_whole(clock, str(hours * HOUR_S))
                _produced(jumping, _events(part), {**shifted, "TZ": zone})
            wait_for(lambda: _predicted(jumping) == (len(JUMPS) + 1) * EACH)
        finally:
            os.kill(running.pid, signal.SIGTERM)
        assert running.wait(60) == 0
    _produced(steady, "".join(map(_events, range(len(JUMPS) + 1))), {})
    assert real(steady, "run", "shop.py", "--until-end").code == 0
    times = _append_times(jumping)
    assert times == sorted(times)
    assert times[-1] - times[0] > 6 * HOUR_S * 1000  # the clock did jump
    for shown, wanted in zip(_results(jumping), _results(steady), strict=True):
        assert shown == wanted
    replayed = real(jumping, "replay", "shop.py", **shifted, TZ="Asia/Tokyo")
    assert replayed.code == 0, replayed


def _predicted(directory: Path) -> int:
    path = directory / ".stream-app/log.db"
    with closing(SqliteLog.open(path, create=False, read_only=True)) as log:
        return log.bounds("shop.predictions", 0)[1]
