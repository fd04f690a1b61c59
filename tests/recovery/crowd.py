"""Many producers, two workers and many followers on one log: what any of them lost."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from stream_app.core.commit import decode_commit
from stream_app.core.topics import Topics
from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.processes import workers_of
from tests.cli.terminal import Running, Terminal

TOPICS = Topics("shop")
WAL_BYTES_MAX = 64 << 20
GROWTH_BYTES_MAX = 96 << 20
PAUSE_S = 0.25
PATIENCE_S = 120.0


class Crowd(msgspec.Struct, frozen=True):
    """How many of each; a producer sends `events`, at `rate` a second."""

    producers: int = 10
    followers: int = 5
    events: int = 150
    rate: int = 50


class Seen(msgspec.Struct):
    """What was measured while they worked."""

    wal_bytes: int = 0
    memory: dict[int, list[int]] = {}

    def look(self, log: Path, pids: Sequence[int]) -> None:
        """Measure once."""
        wal = log.with_name(log.name + "-wal")
        if wal.exists():
            self.wal_bytes = max(self.wal_bytes, wal.stat().st_size)
        for pid in pids:
            self.memory.setdefault(pid, []).append(_resident(pid))

    def growth_bytes(self) -> int:
        """Return how much the process that grew most grew since the first half."""
        return max(
            max(sizes[len(sizes) // 2 :]) - max(sizes[: len(sizes) // 2 or 1])
            for sizes in self.memory.values()
        )


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def crowd(directory: Path, asked: Crowd) -> list[str]:
    """Let them work in `directory`; returns what went wrong, and prints what was measured."""
    text = DECLARATION.replace("evaluate_every=50", 'evaluate_every=50, model_per="partition"')
    (directory / "shop.py").write_text(text)
    terminal = Terminal(directory)
    try:
        return _crowd(terminal, directory, asked)
    finally:
        terminal.close()


def _crowd(terminal: Terminal, directory: Path, asked: Crowd) -> list[str]:
    run = terminal.start(directory, "run", "shop.py", "--workers", "2", "--partitions", "2")
    log = directory / ".stream-app/log.db"
    run.wait_for(lambda: len(workers_of(run.pid)) == 2)
    follow = ("consume", TOPICS.predictions, "--follow")
    followers = [terminal.start(directory, *follow) for _ in range(asked.followers)]
    producers = [
        terminal.start(
            directory, "produce", "shop", "--json", "--rate", str(asked.rate), stdin=lines
        )
        for lines in (_lines(asked, number) for number in range(asked.producers))
    ]
    seen, total = Seen(), asked.producers * asked.events
    pids = [*workers_of(run.pid), *(follower.pid for follower in followers)]
    deadline = time.monotonic() + PATIENCE_S + asked.events / asked.rate
    while _committed(log) < total and time.monotonic() < deadline:
        seen.look(log, pids)
        time.sleep(PAUSE_S)
    for follower in followers:
        _wait_for_lines(follower, total, deadline)
    wrong = [f"a producer: {ended}" for p in producers if (ended := p.end()).code]
    acknowledged = sum(json.loads(p.lines()[0])["acknowledged"] for p in producers)
    ends = [follower.stop(signal.SIGTERM).code for follower in followers]
    wrong += [f"a follower ended with {code}" for code in ends if code]
    if (ended := run.stop()).code:
        wrong.append(f"run: {ended.err[-500:]}")
    wrong += _lost(log, followers, acknowledged, total)
    replayed = terminal.run(directory, "replay", "shop.py")
    if replayed.code:
        wrong.append(f"replay: {replayed.err[-500:]}")
    if seen.wal_bytes > WAL_BYTES_MAX:
        wrong.append(f"the -wal file had {seen.wal_bytes} bytes")
    if seen.growth_bytes() > GROWTH_BYTES_MAX:
        wrong.append(f"a process grew by {seen.growth_bytes()} bytes in the second half")
    print(
        f"{acknowledged} events acknowledged to {asked.producers} producers, predicted by 2 "
        f"workers, read by {asked.followers} followers; -wal at most {seen.wal_bytes >> 20} MB, "
        f"no process grew by more than {seen.growth_bytes() >> 20} MB in the second half"
    )
    return wrong


def _lines(asked: Crowd, number: int) -> str:
    """Return one producer's events, each with its label; ids and keys are its own."""
    return json_lines(
        *(
            observation(n, id=f"p{number}-{n}", key=f"k{number}-{n % 7}", label=n * 37 % 101 > 50)
            for n in range(asked.events)
        )
    )


def _committed(path: Path) -> int:
    with closing(SqliteLog.open(path, create=False, read_only=True)) as log:
        commits = [log.ledger_get(TOPICS.ledger, number, "commit") for number in range(2)]
    return sum(decode_commit(commit, "crowd").next_offset for commit in commits if commit)


def _wait_for_lines(follower: Running, total: int, deadline: float) -> None:
    while len(follower.lines()) < total and time.monotonic() < deadline:
        time.sleep(PAUSE_S)


def _lost(path: Path, followers: Sequence[Running], acknowledged: int, total: int) -> list[str]:
    """Compare what was acknowledged with what is there, and with what every follower read."""
    wrong = []
    with closing(SqliteLog.open(path, create=False)) as log:
        kept = sum(log.bounds(TOPICS.events, number)[1] for number in range(2))
        published = Counter(
            record.value
            for number in range(2)
            for record in log.read(
                TOPICS.predictions, number, 0, records_max=1 << 30, bytes_max=1 << 40
            )
        )
    if not acknowledged == kept == total == published.total() == len(published):
        wrong.append(
            f"{total} sent, {acknowledged} acknowledged, {kept} kept, {published.total()} "
            f"predictions, {len(published)} of them different"
        )
    for number, follower in enumerate(followers):
        read = Counter(line.encode() for line in follower.lines())
        if read != published:
            wrong.append(f"follower {number} read {read.total()}, {len(read)} of them different")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, let them work, and say what went wrong; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/crowd", description=__doc__)
    parser.add_argument("--producers", type=int, default=10, help="how many (10)")
    parser.add_argument("--followers", type=int, default=5, help="how many (5)")
    parser.add_argument("--events", type=int, default=5000, help="of each producer (5000)")
    parser.add_argument("--rate", type=int, default=50, help="of each producer, a second (50)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="stream-app-crowd-") as directory:
        asked = Crowd(chosen.producers, chosen.followers, chosen.events, chosen.rate)
        wrong = crowd(Path(directory), asked)
    for line in wrong:
        print(f"FAILED: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
