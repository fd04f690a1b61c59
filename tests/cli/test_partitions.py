"""Positions name their partition, in `explain` and in what is done to kept checkpoints."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.terminal import Terminal, assert_error

KEYED = DECLARATION.replace("Labels, Pipeline", "Keep, Labels, Pipeline").replace(
    "    evaluate_every=50,", '    model_per="key",\n    checkpoints=Keep(records=40),'
)
EVENTS, KEYS = 240, 8


@pytest.fixture(scope="module")
def ran(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of two partitions that ran in three goes; look only."""
    directory = tmp_path_factory.mktemp("ran")
    (directory / "shop.py").write_text(KEYED)
    run = ("run", "shop.py", "--until-end", "--partitions", "2")
    assert terminal.run(directory, *run).code == 0
    for first in range(0, EVENTS, EVENTS // 3):
        rows = [
            observation(i, key=f"k{i % KEYS}", label=i % 3 == 0)
            for i in range(first, first + EVENTS // 3)
        ]
        sent = terminal.run(directory, "produce", "shop.py", stdin=json_lines(*rows))
        assert sent.code == 0, sent
        assert terminal.run(directory, *run).code == 0
    return directory


@pytest.fixture
def own(ran: Path, tmp_path: Path) -> Path:
    """A copy to change at will."""
    return Path(shutil.copytree(ran, tmp_path / "shop"))


def _predictions(directory: Path, partition: int) -> list[tuple[int, Any]]:
    """Return (offset, prediction) of what a partition has put out."""
    with closing(SqliteLog.open(directory / ".stream-app/log.db", create=False)) as log:
        rows = log.read("shop.predictions", partition, 0, records_max=1 << 20)
        return [(row.offset, msgspec.json.decode(row.value)) for row in rows]


def test_a_prediction_is_explained_in_its_own_partition(ran: Path, terminal: Terminal) -> None:
    for partition in (0, 1):
        rows = _predictions(ran, partition)
        assert len(rows) > EVENTS // 4
        for at, row in (rows[1], rows[len(rows) // 2], rows[-1]):
            offset, name = row["source"]["offset"], row["observation_id"]
            for which in (
                f"{partition}@{offset}",
                f"shop.events/{partition}@{offset}",
                f"shop.predictions/{partition}@{at}",
                name,
                row["id"],
            ):
                [found] = terminal.run(ran, "explain", "shop.py", which, "--json").json()
                assert found["position"] == f"shop.events/{partition}@{offset}"
                assert (found["observation_id"], found["same"]) == (name, "equal")
                assert found["recomputed"]["probability"] == row["probability"]
    assert_error(terminal.run(ran, "explain", "shop.py", "2@5"), 2, "shop has no partition 2")


def _checkpoints(directory: Path, terminal: Terminal) -> dict[int, list[int]]:
    """Return each partition's live position, and those that are kept."""
    found: dict[int, list[int]] = {}
    for row in terminal.run(directory, "checkpoints", "shop", "--json").json():
        seen = row["checkpoint"]
        found.setdefault(seen["partition"], []).append(seen["next_offset"])
    return found


@pytest.mark.parametrize("form", ["{}@{}", "shop.events/{}@{}"])
def test_a_checkpoint_is_restored_and_forgotten_by_its_position(
    own: Path, terminal: Terminal, form: str
) -> None:
    before = _checkpoints(own, terminal)
    published = [_predictions(own, partition) for partition in (0, 1)]
    place = form.format(1, before[1][1])
    done = terminal.run(own, "checkpoints", "shop", "--restore", place)
    assert done.code == 0, done
    assert f"restored: shop/1 at {before[1][1]}" in done.out
    assert _checkpoints(own, terminal) == {0: before[0], 1: [before[1][1], *before[1][1:]]}
    run = terminal.run(own, "run", "shop.py", "--until-end")
    assert run.code == 0, run
    assert [_predictions(own, partition) for partition in (0, 1)] == published
    dropped = terminal.run(own, "checkpoints", "shop", "--forget", place, "--json").json()
    assert [(row["partition"], row["next_offset"]) for row in dropped] == [(1, before[1][1])]


def test_a_position_that_names_no_checkpoint_is_refused_with_the_right_form(
    own: Path, terminal: Terminal
) -> None:
    at = _checkpoints(own, terminal)[1][1]
    for words, problem in (
        ((f"1@{at + 1}",), f"has kept no checkpoint '1@{at + 1}'; did you mean 1@{at}"),
        ((f"2@{at}",), "shop has no partition 2"),
        ((f"1@{at}", "--partition", "0"), "--partition names another one"),
        ((f"shop.predictions/1@{at}",), f"Try: 1@{at}, if that was meant"),
    ):
        assert_error(terminal.run(own, "checkpoints", "shop", "--restore", *words), 2, problem)
