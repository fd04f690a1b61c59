"""Partitions are opened in threads of one process, all at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_threads_that_read_saved_things_for_the_first_time_at_once_do_not_crash() -> None:
    # msgspec 0.22 learns a type at its first use, without a lock. Made to fail in one child of
    # ten, a lane's process died of SIGSEGV.
    child = [sys.executable, "-m", "tests.core.first_use"]
    ran = subprocess.run(
        child, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("0\n", "")
