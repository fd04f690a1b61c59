"""A replay in pieces: says what one fold says, and a piece that is lost is never passed over."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream_app.cli.replay import _by_partition
from stream_app.hosts.piece_queue import PieceQueue
from stream_app.hosts.published_rows import Difference
from stream_app.hosts.replay import ReplayReport
from stream_app.hosts.warm_forks import CONTEXT
from tests.cli.conftest import json_lines, observation
from tests.cli.processes import workers_of
from tests.cli.terminal import PROGRAM, Terminal, clean_environment, real

RUNS, EACH = 5, 40
WAIT_S = 60.0
DECLARED = """
import time
from pathlib import Path

from river import base

from stream_app import Binary, Keep, Pipeline, Version


class Slow(base.Classifier):
    def __init__(self):
        self.seen = 0

    def predict_proba_one(self, x):
        if Path("slow").exists():
            time.sleep(0.1)
        return {True: self.seen % 7 / 7, False: 1 - self.seen % 7 / 7}

    def learn_one(self, x, y):
        self.seen += 1


pipeline = Pipeline(
    "shop",
    task=Binary(),
    features={"price": float, "items": int, "country": str},
    versions={"v1": Version(Slow())},
    checkpoints=Keep(records=20),
    digest_every=30,
)
"""


@pytest.fixture(scope="module")
def kept(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a kept checkpoint after every forty records."""
    directory = tmp_path_factory.mktemp("kept")
    (directory / "shop.py").write_text(DECLARED)
    for number in range(RUNS):
        rows = [observation(number * EACH + i, label=i % 3 == 0) for i in range(EACH)]
        sent = terminal.run(directory, "produce", "shop.py", stdin=json_lines(*rows))
        assert sent.code == 0, sent
        ran = terminal.run(directory, "run", "shop.py", "--until-end")
        assert ran.code == 0, ran
    return directory


@contextmanager
def replaying(directory: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Begin a replay in pieces that takes long; yields it and its two workers at work."""
    (directory / "slow").touch()
    parent = subprocess.Popen(
        [PROGRAM, "replay", "shop.py", "--workers", "2"],
        cwd=directory,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    workers: list[int] = []
    try:
        deadline = time.monotonic() + WAIT_S
        while len(workers) < 2 or not all(_has_open(worker, "replay-") for worker in workers):
            assert time.monotonic() < deadline
            assert parent.poll() is None, parent.communicate()
            time.sleep(0.02)
            workers = workers_of(parent.pid)
        yield parent, workers
    finally:
        (directory / "slow").unlink()
        parent.kill()
        parent.communicate()


def _has_open(pid: int, part: str) -> bool:
    return any(part in name for name in files_of(pid))


def files_of(pid: int) -> list[str]:
    """Return what a process has open."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return names


def test_pieces_say_what_one_fold_says(kept: Path) -> None:
    whole, pieces = (
        real(kept, "replay", "shop.py", "--json", "--workers", workers) for workers in "12"
    )
    assert (whole.code, pieces.code) == (0, 0), (whole, pieces)
    [one], [cut] = whole.json(), pieces.json()
    assert (one.pop("pieces"), cut.pop("pieces")) == (1, RUNS)
    assert one == cut
    assert one["records"] == RUNS * EACH


def test_kill_9_of_a_pieces_process_is_named(kept: Path) -> None:
    with replaying(kept) as (parent, workers):
        os.kill(workers[1], signal.SIGKILL)
        out, err = parent.communicate(timeout=WAIT_S)
    assert parent.returncode == 1
    assert "died without a word" in err
    assert err.splitlines()[-1].startswith("Try: the same command again")
    assert "no difference" not in out


def test_what_pieces_are_forks_of_has_opened_nothing(kept: Path) -> None:
    with replaying(kept) as (_, workers):
        parents = {
            int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            for pid in workers
        }
        [origin] = parents
        opened = [name for name in files_of(origin) if not name.startswith(("pipe:", "socket:"))]
        assert not [name for name in opened if str(kept) in name or "stream-app-" in name]
        imported = Path(f"/proc/{origin}/maps").read_text()
        assert "/river/" in imported, "it has not imported what takes long"


def taking(queue: PieceQueue, into: Any, lives: bool) -> None:
    """Take pieces and tell of each; one that does not live is killed at its first."""
    for piece in queue:
        into.send(piece)
        if not lives:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("count", [0, 1, 7, 10_000])
def test_several_processes_take_each_piece_once_in_order(count: int) -> None:
    """The last case has more pieces than tickets fit into a pipe."""
    queue = PieceQueue(range(count))
    ours, theirs = zip(*(CONTEXT.Pipe(duplex=False) for _ in range(3)), strict=True)
    processes = [CONTEXT.Process(target=taking, args=(queue, into, True)) for into in theirs]
    for process in processes:
        process.start()
    for into in theirs:
        into.close()
    queue.close()
    taken = [list(_received(pipe)) for pipe in ours]
    for process in processes:
        process.join()
    assert sorted(piece for each in taken for piece in each) == list(range(count))
    assert all(each == sorted(each) for each in taken)


def test_a_process_that_is_killed_holds_nobody_up() -> None:
    queue = PieceQueue(range(50))
    ours, theirs = zip(*(CONTEXT.Pipe(duplex=False) for _ in range(2)), strict=True)
    killed, other = (
        CONTEXT.Process(target=taking, args=(queue, into, lives))
        for into, lives in zip(theirs, (False, True), strict=True)
    )
    killed.start()
    theirs[0].close()
    killed.join()
    other.start()
    theirs[1].close()
    queue.close()
    assert [*_received(ours[0])] == [0]
    assert [*_received(ours[1])] == list(range(1, 50))
    other.join()


def _received(pipe: Any) -> Iterator[int]:
    while True:
        try:
            yield pipe.recv()
        except EOFError:
            return


def report(start: int, end: int, difference: Difference | None = None) -> ReplayReport:
    """Return a piece's report."""
    return ReplayReport(0, end - start, end, {}, 0, 0, [], difference, start)


def test_pieces_beyond_a_gap_are_not_said_to_be_equal() -> None:
    """The longest pieces are folded first, so an interruption leaves gaps."""
    pieces = [report(0, 10), report(10, 15), report(20, 30)]
    [found] = _by_partition(pieces, interrupted=True)
    assert (found.next_offset, found.records, found.pieces) == (15, 15, 2)
    [found] = _by_partition(pieces, interrupted=False)  # no records in between, as on Kafka
    assert found.next_offset == 30


def test_a_difference_beyond_a_gap_is_told() -> None:
    difference = Difference("a", "b", "value", "1", "2")
    pieces = [report(0, 10), report(20, 30, difference)]
    [found] = _by_partition(pieces, interrupted=True)
    assert found.difference == difference
