"""The bounded form of `scripts/chaos`: the real command, killed at real random moments."""

from __future__ import annotations

import pytest

from tests.recovery.chaos import main


def test_replay_finds_no_difference_after_kill_9_under_load(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--kills", "3", "--events", "1200", "--seed", "4"]) == 0
    said = capfd.readouterr().out
    assert said.count("kill ") == 3
    assert "replay: no difference" in said
