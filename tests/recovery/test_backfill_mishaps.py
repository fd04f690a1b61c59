"""A backfill, or a join, that is stopped midway or runs short of something: live goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream_app.hosts.backfills import BackfillPlan, backfill
from stream_app.hosts.embedded import Owned, Progress, Word
from stream_app.hosts.stop_flag import StopFlag
from tests.cli.terminal import Ended, Terminal, assert_error
from tests.disks import small_disk
from tests.recovery.hill import BATCH, Hill, events
from tests.recovery.scarcity import fill

MANY, FEW, MORE = 21_000, 600, 50
DISK_BYTES = 96 << 20
CHECKPOINTS_S = 1.1  # after so long the next batch is saved
LIVE_ALONE = "run hill.py --version v1 --until-end"
Rows = list[tuple[bytes | None, bytes, Any]]


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with closing(Terminal(tmp_path_factory.mktemp("terminal"))) as opened:
        yield opened


def _begun(terminal: Terminal, directory: Path, count: int) -> Hill:
    hill = Hill(terminal, directory)
    hill.declare()
    assert hill.type("produce hill.py", events(0, count)).code == 0
    hill.done(LIVE_ALONE)
    return hill


@pytest.fixture(scope="module")
def long(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Hill:
    """Live has run over more events than a backfill takes at once, twice over."""
    return _begun(terminal, tmp_path_factory.mktemp("long"), MANY)


@pytest.fixture(scope="module")
def undisturbed(long: Hill, terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """All that a backfill puts out which nothing happens to; a replay finds no difference in it."""
    hill = _copy(long, terminal, tmp_path_factory.mktemp("undisturbed"))
    hill.done("backfill hill.py v3")
    rows = hill.shadow()
    hill.joins()
    hill.agrees()
    return rows


@pytest.fixture(scope="module")
def behind(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Hill:
    """A backfill that has been built, and lacks what live has learned since."""
    hill = _begun(terminal, tmp_path_factory.mktemp("behind"), FEW)
    hill.done("backfill hill.py v3")
    assert hill.type("produce hill.py", events(FEW, FEW + MORE)).code == 0
    hill.done(LIVE_ALONE)
    return hill


def _copy(of: Hill, terminal: Terminal, place: Path) -> Hill:
    return Hill(terminal, Path(shutil.copytree(of.directory, place / "hill", symlinks=True)))


@pytest.fixture
def hill(long: Hill, terminal: Terminal, tmp_path: Path) -> Iterator[Hill]:
    with closing(_copy(long, terminal, tmp_path)) as copied:
        yield copied


# Signals in the middle of a batch


@pytest.mark.parametrize(
    ("number", "code", "stands_at"),
    [
        (signal.SIGINT, 130, 2 * BATCH),
        (signal.SIGTERM, 0, 2 * BATCH),
        (signal.SIGKILL, -signal.SIGKILL, BATCH),
    ],
)
def test_a_backfill_that_is_stopped_in_the_middle_of_a_batch_goes_on_and_puts_out_all_once(
    hill: Hill, undisturbed: Rows, number: signal.Signals, code: int, stands_at: int
) -> None:
    running = hill.paused()
    assert hill.built_up_to() == BATCH
    os.kill(running.pid, number)
    hill.go()
    ended = hill.end(running)
    assert ended.code == code, ended
    assert hill.built_up_to() == stands_at
    if number != signal.SIGKILL:
        assert f"{MANY - stands_at:,} records are left" in ended.out
        assert "The same command goes on from there." in ended.out
    hill.done("backfill hill.py v3")
    assert hill.shadow() == undisturbed
    hill.joins()


# A disk that is full


@contextmanager
def _on_small_disk(of: Hill, terminal: Terminal, place: Path, part: str) -> Iterator[Hill]:
    """Copy a hill, with its log or its state on a disk of its own."""
    with small_disk(place / "disk", DISK_BYTES) as disk:
        directory = Path(shutil.copytree(of.directory, place / "hill"))
        home = directory / ".stream-app"
        for path in home.glob("log.db*" if part == "log" else "state"):
            shutil.move(path, disk)
        moved = {"STREAM_APP_BROKER": str(disk / "log.db")}
        if part == "state":
            moved = {"STREAM_APP_STATE": str(disk / "state")}
        with closing(Hill(terminal, directory, moved)) as hill:
            yield hill
    shutil.rmtree(directory)


@pytest.mark.usefixtures("small_disks")
@pytest.mark.parametrize("part", ["state", "log"])
def test_a_disk_that_is_full_in_the_middle_of_a_backfill_is_named_and_costs_time_only(
    long: Hill, terminal: Terminal, undisturbed: Rows, part: str, tmp_path: Path
) -> None:
    with _on_small_disk(long, terminal, tmp_path, part) as hill:
        running = hill.paused()
        filler = fill(tmp_path / "disk", 0)
        time.sleep(CHECKPOINTS_S)
        hill.go()
        ended = hill.end(running)
        full = "The disk of the event log" if part == "log" else "No space left"
        assert_error(ended, 4, full, str(tmp_path / "disk"), "free ", "start again")
        assert hill.built_up_to() in {BATCH, 2 * BATCH}
        filler.unlink()
        hill.done("backfill hill.py v3")
        assert hill.shadow() == undisturbed
        hill.joins()


@pytest.mark.usefixtures("small_disks")
@pytest.mark.parametrize(("part", "pages_left"), [("state", (24, 40)), ("log", (20,))])
def test_a_disk_that_is_full_in_the_middle_of_a_join_stops_live_no_longer_than_it_is_full(
    behind: Hill, terminal: Terminal, part: str, pages_left: tuple[int, ...], tmp_path: Path
) -> None:
    left_out = 0
    for pages in pages_left:
        with _on_small_disk(behind, terminal, tmp_path, part) as hill:
            filler = fill(tmp_path / "disk", pages)
            ended = hill.type("run hill.py --until-end")
            filler.unlink()
            if ended.code:
                assert_error(ended, 4, str(tmp_path / "disk"), "free ", "start again")
            elif "v3" not in hill.live().versions:
                assert_left_out(ended, "free ", "start again")
                left_out += 1
            hill.joins()
            hill.agrees()
    assert left_out


def assert_left_out(ended: Ended, *words: str) -> None:
    """Assert that live has gone on without v3, and said why and what to do."""
    assert ended.code == 0, ended
    [said] = [line for line in ended.err.splitlines() if "its backfill cannot join" in line]
    for word in ("v3 is declared and not run", "The next start tries again", *words):
        assert word in said


@pytest.mark.usefixtures("small_disks")
def test_live_goes_on_with_new_events_beside_a_backfill_whose_disk_is_full(
    behind: Hill, terminal: Terminal, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", DISK_BYTES) as disk,
        closing(_copy(behind, terminal, tmp_path)) as hill,
    ):
        [lineage] = hill.directory.glob(".stream-app/state/*/hill/backfill-v3")
        shutil.move(lineage, disk)
        lineage.symlink_to(disk / lineage.name)
        filler = fill(disk, 0)
        assert hill.type("produce hill.py", events(FEW + MORE, FEW + 2 * MORE)).code == 0
        assert_left_out(hill.type("run hill.py --until-end"), "No space left", "free some space")
        assert hill.live().next_offset == FEW + 2 * MORE
        filler.unlink()
        hill.joins()


# Too little memory, and errors that nobody expected


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("memory", ("ran out of memory", "give it more memory")),
        ("recursion", ("unexpected RecursionError", "stream-app backfill hill.py v3")),
        ("exit", ("unexpected GeneratorExit", "stream-app backfill hill.py v3")),
    ],
)
def test_live_goes_on_beside_a_backfill_that_nobody_can_bring_to_where_live_stands(
    behind: Hill, terminal: Terminal, fault: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    with closing(_copy(behind, terminal, tmp_path)) as hill:
        assert hill.type("produce hill.py", events(FEW + MORE, FEW + 2 * MORE)).code == 0
        # What a kill for want of memory asks for: no attempt to bring it nearer.
        without = hill.type("run hill.py --until-end --drop v3", FAULT=fault)
        assert without.code == 0
        assert "cannot join" not in without.err
        assert_left_out(hill.type("run hill.py --until-end", FAULT=fault), *words)
        assert hill.live().next_offset == FEW + 2 * MORE
        hill.joins()


def test_a_backfill_that_runs_out_of_memory_says_so_and_goes_on_where_it_was(
    behind: Hill, terminal: Terminal, tmp_path: Path
) -> None:
    with closing(_copy(behind, terminal, tmp_path)) as hill:
        ended = hill.type("backfill hill.py v3", FAULT="memory")
        assert_error(ended, 4, "ran out of memory", "give it more memory")
        assert hill.built_up_to() == FEW
        hill.done("backfill hill.py v3")
        assert hill.built_up_to() == FEW + MORE
        hill.joins()


# What is said


@pytest.mark.parametrize(
    ("line", "code"),
    [("backfill hill.py v33", 2), ("backfill hill.py v1", 2), ("backfill hill.py v3 --from x", 2)],
)
def test_a_backfill_that_is_refused_is_not_said_to_have_started(
    behind: Hill, line: str, code: int
) -> None:
    ended = behind.type(line)
    assert_error(ended, code)
    assert "backfill_started" not in ended.err


def test_a_backfill_says_that_it_has_started_and_on_which_partitions_before_all_else(
    behind: Hill, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a terminal shows are the partitions that were named: it said `starting` to its end."""
    monkeypatch.delitem(sys.modules, "hill", raising=False)
    said: list[Word] = []
    with closing(_copy(behind, terminal, tmp_path)) as hill:
        home = hill.directory / ".stream-app"
        plan = BackfillPlan(
            spec=str(hill.directory / "hill.py"),
            broker=str(home / "log.db"),
            state=str(home / "state"),
            version="v3",
        )
        backfill(plan, said.append, StopFlag())
        assert said[0] == Owned("hill", (0,))
        assert isinstance(said[-1], Progress)
        assert said[-1].next_offset == FEW + MORE
        hill.joins()


def test_the_start_of_a_backfill_is_logged(
    behind: Hill, terminal: Terminal, tmp_path: Path
) -> None:
    with closing(_copy(behind, terminal, tmp_path)) as hill:
        assert "backfill_started" in hill.done("backfill hill.py v3").err
