"""Starts that run short of space, files, memory or rights end in exit code 4 and lose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def went_short(directory: Path, *kinds: str) -> str:
    """Go short of these things in a process of its own; returns what it says."""
    directory.chmod(0o755)
    words = ["-m", "tests.recovery.scarcity", *kinds, "--directory", str(directory)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("small_disks")
def test_a_disk_that_is_full_at_any_step_of_a_start_is_named_and_loses_nothing(
    tmp_path: Path,
) -> None:
    said = went_short(tmp_path, "disk")
    for sign in ("log.db is full", "While appending to file", "saves: No space left", "went well"):
        assert sign in said
    assert "I/O error" not in said


@pytest.mark.usefixtures("small_disks")
def test_a_producer_and_a_replay_on_a_full_disk_say_so_and_go_on_later(tmp_path: Path) -> None:
    said = went_short(tmp_path, "produce", "temporary")
    assert "produce: exit code 4" in said
    assert "replay's own state: exit code 4" in said


@pytest.mark.usefixtures("small_disks")
def test_what_may_not_be_written_is_named() -> None:
    # A place of our own: nobody may not even enter pytest's directories.
    with tempfile.TemporaryDirectory(prefix="stream-app-test-") as place:
        said = went_short(Path(place), "forbidden")
    assert "Read-only file system" in said
    assert "another user's: exit code 4" in said


def test_too_few_files_and_too_little_memory_are_named(tmp_path: Path) -> None:
    said = went_short(tmp_path, "files", "memory")
    assert "may open no more files" in said
    assert "Too many open files" in said
    assert "leaves RocksDB too little" in said
    for thing in ("files", "memory"):
        assert f"{thing}: went well" in said
