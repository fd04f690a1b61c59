"""A disk that says it could not keep what was written: the run ends there, and the next goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.terminal import Ended, assert_error, real
from tests.recovery.machine import Machine, first_difference
from tests.recovery.pipelines import small
from tests.recovery.storms import records

ROOT = Path(__file__).parents[2]
DECLARATION = "from tests.recovery.pipelines import small\n\npipeline = small()\n"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets a sync fail, for SQLite, RocksDB and Python alike."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT TESTED: syncs that fail (there is no C compiler)")
    library = tmp_path_factory.mktemp("shim") / "failing_sync.so"
    source = Path(__file__).with_name("failing_sync.c")
    words = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return library


@pytest.mark.parametrize(
    ("of", "at"),
    [
        ("log.db-wal", 1),  # the claim
        ("log.db-wal", 2),  # the publish
        (".log", 1),  # RocksDB's own log, in the first save
        ("MANIFEST", 2),
        ("saves", 2),
    ],
)
def test_a_failed_sync_is_named_and_what_was_not_kept_is_done_again(
    of: str, at: int, shim: Path, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine")
    machine.root.mkdir()
    machine.begin(small(), records(150))
    machine.state.seal()
    undisturbed = machine.copy(tmp_path / "undisturbed")
    undisturbed.run(small())
    failing = {"LD_PRELOAD": str(shim), "FAIL_SYNC_OF": of, "FAIL_SYNC_AT": str(at)}
    assert_error(_run(machine, tmp_path, **failing), 4)
    assert (ended := _run(machine, tmp_path)).code == 0, ended
    wanted, left = undisturbed.outcome(small()), machine.outcome(small())
    assert first_difference(wanted, left) is None
    assert machine.replayed(small()).difference is None


def _run(machine: Machine, directory: Path, **environment: str) -> Ended:
    (directory / "small_weather.py").write_text(DECLARATION)
    words = ["run", "small_weather.py", "--until-end", "--broker", str(machine.log_path)]
    words += ["--state", str(machine.state.root), "--log-level", "warning"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return real(directory, *words, PYTHONPATH=path, **environment)
