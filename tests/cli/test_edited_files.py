"""A declaration that was edited is the one that runs, whatever Python has cached of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = "from stream_app.hosts.pipeline_file import load_pipeline as load; print(load('{}').name)"
TEXT = """
from river import linear_model
from stream_app import Binary, Pipeline, Version

pipeline = Pipeline(
    "{}", task=Binary(), features={{"a": float}},
    versions={{"v1": Version(linear_model.LogisticRegression())}},
)
"""


def test_a_file_that_was_edited_twice_within_a_second_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "edited.py"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for name in ("first", "other"):
        file.write_text(TEXT.format(name))
        os.utime(file, (1_700_000_000, 1_700_000_000))
        said = subprocess.check_output(
            [sys.executable, "-c", LOAD.format(file)], env=environment, text=True
        )
        assert said.strip() == name
