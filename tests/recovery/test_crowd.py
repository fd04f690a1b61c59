"""The bounded form of `scripts/crowd`."""

from __future__ import annotations

from pathlib import Path

from tests.recovery.crowd import Crowd, crowd


def test_ten_producers_two_workers_and_five_followers_lose_nothing_of_each_other(
    tmp_path: Path,
) -> None:
    assert crowd(tmp_path, Crowd()) == []
