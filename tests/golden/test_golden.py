"""Golden logs: recorded records must give the recorded bytes, release after release.

When this fails, a release would change what a replay of anybody's log gives. Take the change back,
or raise `SEMANTICS` and record a new case beside the old ones; never edit a recording.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_app.core.memory import Memory
from tests.core.history import History
from tests.golden.cases import CASES
from tests.golden.recording import input_lines, output_lines, paths, read_entries, record

STEPS: dict[str, list[Any]] = {
    "at once": [],
    "with restarts": [7, "save", 20, "crash", 33, "save", 1, "save", "crash", 40, "crash"],
}


def recorded(name: str) -> History:
    history = CASES[name]()
    history.entries = read_entries(paths(name)[0].read_text(encoding="utf-8"))
    return history


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", CASES)
def test_recorded_records_give_the_recorded_bytes(name: str, steps: str) -> None:
    outcome = recorded(name).fold(STEPS[steps], memory=Memory(live_max=2, rest_bytes_max=0))
    expected = paths(name)[1].read_text(encoding="utf-8").splitlines()
    # Line by line first: the first that differs says more than two long texts.
    for line, wanted in zip(output_lines(outcome).splitlines(), expected, strict=True):
        assert line == wanted


@pytest.mark.parametrize("name", CASES)
def test_records_survive_being_written_down(name: str) -> None:
    history = CASES[name]()
    assert read_entries(input_lines(history.entries)) == history.entries


def test_a_recording_is_never_overwritten() -> None:
    with pytest.raises(FileExistsError):
        record("binary", CASES["binary"]())


def test_the_recordings_hold_every_kind_of_output() -> None:
    kinds, reasons = set(), set()
    for name in CASES:
        for line in paths(name)[1].read_text(encoding="utf-8").splitlines()[:-1]:
            output = json.loads(json.loads(line)["value"])
            kinds.add(output["kind"])
            reasons.add(output.get("reason") or output.get("null_reason") or output.get("action"))
    assert kinds == {
        "prediction",
        "evaluation",
        "state_digest",
        "drift_alert",
        "dead_letter",
        "model_failure",
    }
    assert {"untrained", "model_raised", "alert", "reset", "duplicate", "unsigned"} <= reasons
    assert {"conflicting_label", "duplicate_key", "not_finite", "bad_utf8"} <= reasons
