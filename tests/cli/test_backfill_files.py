"""A version's outputs in a file: whole or not there, and Parquet says what JSON lines say."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tests import disks
from tests.cli.conftest import EVENTS
from tests.cli.terminal import Ended, Running, Terminal, assert_error, real
from tests.disks import skip_without_disks
from tests.hosts.parquet import as_json

NAMES = ("out.jsonl", "out.parquet")
V1 = '"v1": Version('
V3 = '"v3": Version(linear_model.PAClassifier(), features=["price"]),\n        '
SLOW = '"v3": Version(Slow()),\n        '
SLOW_MODEL = """
import time

from river import base


class Slow(base.Classifier):
    def predict_proba_one(self, x):
        time.sleep(0.02)
        return {True: 0.5, False: 0.5}

    def learn_one(self, x, y):
        pass


"""


@pytest.fixture
def with_v3(shop: Path) -> Path:
    """A shop that has run, whose file declares one version more."""
    file = shop / "shop.py"
    file.write_text(file.read_text().replace(V1, V3 + V1))
    return shop


@pytest.fixture
def with_slow(shop: Path) -> Path:
    """As above, with a version that takes six seconds."""
    file = shop / "shop.py"
    file.write_text(SLOW_MODEL + file.read_text().replace(V1, SLOW + V1))
    return shop


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    skip_without_disks(tmp_path / "disk")
    with disks.small_disk(tmp_path / "disk", 16 << 10) as disk:
        yield disk


def backfill(terminal: Terminal, directory: Path, out: object) -> Ended:
    """Fold v3 into a file."""
    return terminal.run(directory, "backfill", "shop.py", "v3", "--out", str(out))


def files_of(directory: Path) -> list[str]:
    """Return which of a backfill's files there are."""
    return sorted(file.name for file in directory.glob("out*"))


def read_lines(file: Path) -> list[Any]:
    """Return what JSON lines say."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_parquet_has_the_rows_of_the_json_lines(terminal: Terminal, with_v3: Path) -> None:
    for name in NAMES:
        ended = backfill(terminal, with_v3, name)
        assert ended.code == 0, ended
    lines = read_lines(with_v3 / "out.jsonl")
    assert {line["kind"] for line in lines} == {"prediction", "evaluation", "state_digest"}
    assert len(lines) > EVENTS
    table = parquet.read_table(with_v3 / "out.parquet")
    assert [as_json(row) for row in table.to_pylist()] == lines
    assert table.schema.field("prediction").type == arrow.bool_()
    assert table.schema.field("ts").type == arrow.timestamp("ms", tz="UTC")
    assert files_of(with_v3) == ["out.jsonl", "out.parquet"]


def test_without_pyarrow_it_says_what_to_install_and_json_lines_go_on(with_v3: Path) -> None:
    (with_v3 / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    lines, table = (
        real(with_v3, "backfill", "shop.py", "v3", "--out", name, PYTHONPATH=str(with_v3))
        for name in NAMES
    )
    assert lines.code == 0, lines
    assert_error(table, 2, "pyarrow is not installed", "pip install 'stream-app[parquet]'")
    assert files_of(with_v3) == ["out.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_named_and_holds_no_half_file(
    terminal: Terminal, with_v3: Path, small_disk: Path, name: str
) -> None:
    ended = backfill(terminal, with_v3, small_disk / name)
    assert_error(ended, 4, "No space left", "where there is room")
    assert ended.err.count("\n") == 2, ended.err
    assert files_of(small_disk) == []


def begun(terminal: Terminal, directory: Path, name: str) -> tuple[Running, Path]:
    """Start a backfill into a file; returns it once its draft is there."""
    draft = directory / f"{name}.part"
    running = terminal.start(directory, "backfill", "shop.py", "v3", "--out", name)
    running.wait_for(draft.exists)
    return running, draft


@pytest.mark.parametrize("name", NAMES)
def test_what_is_interrupted_leaves_no_half_file(
    terminal: Terminal, with_slow: Path, name: str
) -> None:
    for how in (signal.SIGINT, signal.SIGTERM):
        running, _ = begun(terminal, with_slow, name)
        ended = running.stop(how)
        assert (ended.code, "was not written" in ended.out) == (130, True), ended
        assert files_of(with_slow) == []


@pytest.mark.parametrize("name", NAMES)
def test_two_at_one_file_are_one_and_a_named_error_that_touches_nothing(
    terminal: Terminal, with_slow: Path, name: str
) -> None:
    """They shared a draft: one renamed what the other was still writing, or deleted it."""
    running, draft = begun(terminal, with_slow, name)
    assert_error(backfill(terminal, with_slow, name), 4, "another process is writing")
    assert draft.exists()
    (with_slow / name).write_text("somebody's")
    ended = running.end()
    assert_error(ended, 2, "is there already")
    assert (with_slow / name).read_text() == "somebody's"
    assert files_of(with_slow) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_kill_9_leaves_no_file_of_that_name_and_the_same_command_makes_it(
    terminal: Terminal, with_slow: Path, name: str
) -> None:
    running, draft = begun(terminal, with_slow, name)
    running.stop(signal.SIGKILL)
    assert files_of(with_slow) == [draft.name]
    file = with_slow / "shop.py"
    file.write_text(file.read_text().replace("0.02", "0.0"))
    assert backfill(terminal, with_slow, name).code == 0
    assert files_of(with_slow) == [name]


def test_a_fold_that_fails_leaves_no_half_file(terminal: Terminal, with_v3: Path) -> None:
    file = with_v3 / "shop.py"
    text = file.read_text().replace("linear_model.PAClassifier()", "Sick()")
    sick = SLOW_MODEL.replace("Slow", "Sick").replace("time.sleep(0.02)", "raise MemoryError")
    file.write_text(sick + text)
    ended = backfill(terminal, with_v3, "out.parquet")
    assert_error(ended, 4, "memory")
    assert files_of(with_v3) == []
