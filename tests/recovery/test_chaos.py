"""The bounded form of `scripts/chaos`: the real command, killed at real random moments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recovery.chaos import main


def test_replay_finds_no_difference_after_kill_9_under_load(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--kills", "3", "--events", "1200", "--seed", "4"]) == 0
    said = capfd.readouterr().out
    assert said.count("kill ") == 3
    assert "replay: no difference" in said


def test_a_hundred_promotions_under_kill_9_leave_one_prediction_each_by_the_ordered_champion() -> (
    None
):
    # In a process of its own: its forks begin with what this one has imported, and its hash seed.
    words = ["--promotions", "100", "--kills", "14", "--events", "3000", "--seed", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.recovery.chaos", *words],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 promotions, 100 obeyed; replay: no difference; 0 differences" in done.stdout
