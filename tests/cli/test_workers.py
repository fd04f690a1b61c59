"""Worker processes of one `run`: a frozen one holds nobody up, nor outlives its parent for long."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cli.conftest import DECLARATION
from tests.cli.processes import workers_of
from tests.cli.terminal import PROGRAM, clean_environment

WAIT_S = 60.0


def wait_for(wanted: Callable[[], object]) -> None:
    """Wait until `wanted()` is true."""
    deadline = time.monotonic() + WAIT_S
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Tell whether a process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def working(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Run two workers, which own their partitions, and kill them if they are still there."""
    text = DECLARATION.replace("evaluate_every=50", 'evaluate_every=50, model_per="partition"')
    (directory / "shop.py").write_text(text)
    words = [PROGRAM, "run", "shop.py", "--workers", "2", "--partitions", "2"]
    parent = subprocess.Popen(
        words, cwd=directory, env=clean_environment(), stderr=subprocess.DEVNULL
    )
    workers: list[int] = []
    state = directory / ".stream-app/state"
    try:
        wait_for(lambda: len(list(state.glob("*/shop/live/*/rocksdb/CURRENT"))) == 2)
        workers = workers_of(parent.pid)
        assert len(workers) == 2
        yield parent, workers
    finally:
        for pid in (parent.pid, *workers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        parent.wait()


def test_a_second_signal_ends_a_run_whose_worker_is_frozen(tmp_path: Path) -> None:
    with working(tmp_path) as (parent, workers):
        os.kill(workers[0], signal.SIGSTOP)
        parent.send_signal(signal.SIGTERM)
        wait_for(lambda: not alive(workers[1]))  # which can hear it ends in good order
        assert parent.poll() is None
        assert alive(workers[0])
        parent.send_signal(signal.SIGINT)
        assert parent.wait(WAIT_S) == 130
        assert not alive(workers[0])


def test_a_worker_that_was_frozen_when_its_parent_was_killed_ends_once_it_goes_on(
    tmp_path: Path,
) -> None:
    with working(tmp_path) as (parent, workers):
        os.kill(workers[0], signal.SIGSTOP)
        parent.kill()
        wait_for(lambda: not alive(workers[1]))
        assert alive(workers[0])
        os.kill(workers[0], signal.SIGCONT)
        wait_for(lambda: not alive(workers[0]))
