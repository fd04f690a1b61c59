"""The bounded form of `scripts/damage`: two processes, each some hundred cases of its own seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = 100


def test_damaged_files_end_in_a_named_error_or_in_results_as_ever(tmp_path: Path) -> None:
    words = ["-m", "tests.recovery.damage", "--cases", str(CASES), "--directory", str(tmp_path)]
    judges = [
        subprocess.Popen(
            [sys.executable, *words, "--seed", str(seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (2, 3)
    ]
    said = [judge.communicate()[0] for judge in judges]
    assert [judge.returncode for judge in judges] == [0, 0], "\n".join(said)
    for text in said:
        assert f"{CASES} cases, 0 failed" in text
        assert "named at start, exit code 5" in text
        assert "no effect" in text
