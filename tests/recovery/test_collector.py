"""Imports and restores are made without the garbage collector, and never leave it off."""

import gc
from pathlib import Path

import pytest

from stream_app.errors import StreamAppError
from stream_app.hosts.collector import collector_at_rest
from stream_app.hosts.pipeline_file import load_pipeline


def test_nothing_is_collected_while_a_pipelines_file_is_imported_and_then_it_is_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "looks_at_the_collector.py"
    file.write_text("import gc\nassert not gc.isenabled()\nraise RuntimeError('so far, so good')\n")
    with pytest.raises((StreamAppError, RuntimeError), match="so far, so good"):
        load_pipeline(str(file))
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
