"""Promotions on a real cluster, while workers are killed and a new version is built elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from stream_app.core.commit import Commit
from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.hosts.manifests import committed, read_manifest
from stream_app.hosts.promoting import promote
from stream_app.hosts.state_directory import SHARED_SEAL_KEY, StateDirectory
from stream_app.kafka.connection import Connection
from stream_app.kafka.cursor import to_record
from stream_app.kafka.log import KafkaLog
from stream_app.records import NewRecord, Record
from stream_app.storage.key_files import load_or_create_seal_key
from tests.cli.processes import workers_of
from tests.cli.terminal import Running, Terminal
from tests.kafka.broker import Broker
from tests.kafka.chaos_producer import Production, rows_of
from tests.kafka.chaos_verdict import Reader
from tests.recovery.cut_overs import all_records, differences, wrong_seats
from tests.recovery.pipelines import contest

PARTITIONS = 2
TOPICS = Topics("contest")
BEFORE, AFTER = ("v1", "v2"), ("v1", "v2", "v3")
KILLS, ORDERS_PER_LIFE, ROWS_PER_LIFE = 2, 8, 200
MOVES_WITHIN_S = 90.0
# A broker shows the end of a transaction a moment after it has acknowledged it.
SHOWN_WITHIN_S = 20.0
DECLARATION = """
from tests.recovery.pipelines import contest

pipeline = contest({}, model_per="key")
"""


def declared(versions: tuple[str, ...]) -> Pipeline:
    return contest(*versions, model_per="key")


class Contest:
    """A pipeline on a cluster, the machines that work on it, and who sends events and orders.

    Machines share the seal's key and nothing else; the first one has the key that signs.
    """

    def __init__(self, terminal: Terminal, connection: Connection, directory: Path) -> None:
        self.connection = connection
        self.directory = directory
        self.sent = 0
        self._terminal = terminal
        self._random = random.Random(11)
        self._ordered = "v1"
        self._rows = iter(rows_of(Production("", 10_000, 0, 7)))
        self._keys = {SHARED_SEAL_KEY: str(directory / "seal.key")}
        load_or_create_seal_key(directory / "seal.key")
        self.log = KafkaLog(connection)

    def declare(self, versions: tuple[str, ...]) -> None:
        """Write the declaration and make what topics are missing."""
        (self.directory / "contest.py").write_text(DECLARATION.format(str(versions)[1:-1]))
        words = ("--create", "--partitions", str(PARTITIONS), "--replication", "1")
        self.does("topics", *words)

    def start(self, command: str, *words: str, machine: str = "") -> Running:
        """Start a command, with a machine's state if it uses any."""
        state = ("--state", str(self.directory / machine)) if machine else ()
        broker = ("--broker", self.connection.url)
        environment = {
            "STREAM_APP_KAFKA_TOPIC_PREFIX": self.connection.prefix,
            **self._keys,
        }
        return self._terminal.start(
            self.directory,
            *(command, "contest.py", *words, *broker, *state),
            environment=environment,
        )

    def does(self, command: str, *words: str, machine: str = "") -> str:
        """Run a command, which has to end well; returns what it said."""
        ended = self.start(command, *words, machine=machine).end()
        assert ended.code == 0, ended
        return ended.out

    def send(self, count: int) -> None:
        """Append events, in the order in which they became known."""
        rows: list[NewRecord] = list(itertools.islice(self._rows, count))
        self.log.append(TOPICS.events, rows)

    def order(self, version: str) -> None:
        """Promote, by one transaction over all partitions."""
        manifest = read_manifest(self.log, "contest")
        state = StateDirectory(self.directory / "first")
        promote(self.log, manifest, state, version, f"order {self.sent}", "test")
        self._ordered, self.sent = version, self.sent + 1

    def go_on(self, versions: tuple[str, ...]) -> None:
        """Send events, and orders between them, each for another version than the last one."""
        for _ in range(ORDERS_PER_LIFE):
            self.send(ROWS_PER_LIFE // ORDERS_PER_LIFE)
            self.order(self._random.choice([v for v in versions if v != self._ordered]))
            time.sleep(self._random.uniform(0, 0.05))
        self.send(5)

    def commits(self) -> list[Commit | None]:
        """Return where every partition stands."""
        return [committed(self.log, "contest", partition) for partition in range(PARTITIONS)]

    def wait(self, running: Running, reached: Callable[[list[Commit | None]], bool]) -> None:
        """Wait until the commits are as wanted."""
        deadline = time.monotonic() + MOVES_WITHIN_S
        while not reached(self.commits()):
            assert time.monotonic() < deadline, running.err()
            time.sleep(0.05)

    def moved(self) -> Callable[[list[Commit | None]], bool]:
        """Return what tells that every partition has moved since now."""
        before = self.commits()

        def reached(now: list[Commit | None]) -> bool:
            return all(
                one is not None and one.next_offset > (0 if old is None else old.next_offset)
                for one, old in zip(now, before, strict=True)
            )

        return reached


def kill(running: Running) -> None:
    """SIGKILL who watches and who works, in this order: a worker that is gone is started again."""
    for pid in [running.pid, *workers_of(running.pid)]:
        os.kill(pid, signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL


@pytest.fixture
def place(
    broker: Broker, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Contest]:
    """A contest between two versions, of which nothing runs yet."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv(SHARED_SEAL_KEY, str(tmp_path / "seal.key"))
    with ExitStack() as stack:
        terminal = stack.enter_context(closing(Terminal(tmp_path)))
        made = Contest(terminal, connection, tmp_path)
        stack.callback(made.log.close)
        made.declare(BEFORE)
        yield made


def test_every_observation_has_one_prediction_by_the_ordered_champion_whoever_is_killed(
    place: Contest,
) -> None:
    for _ in range(KILLS):
        running = live_life(place)
        kill(running)
    running = place.start("run", machine="first")
    moved = place.moved()
    place.send(ROWS_PER_LIFE)
    place.wait(running, moved)
    place.declare(AFTER)
    place.does("backfill", "v3", machine="second")
    place.go_on(BEFORE)
    kill(running)
    # The third machine has no state of its own: what joins comes from the backfill's checkpoints.
    assert not (place.directory / "third").exists()
    assert all(all_records(place.log, TOPICS.checkpoints_of("v3"), p) for p in range(PARTITIONS))
    running = place.start("run", machine="third")
    place.wait(running, lambda commits: all(c and "v3" in c.versions for c in commits))
    place.order("v3")
    place.go_on(AFTER)
    kill(running)
    place.does("run", "--until-end", machine="third")
    assert "no difference" in place.does("replay")
    assert found_wrong(place) == []
    for commit in place.commits():
        assert commit is not None
        assert len(commit.seats) == place.sent
        assert not any(change.refused for change in commit.seats)


def live_life(place: Contest) -> Running:
    """Start on the first machine, send events and orders; it is at work on some of them then."""
    running = place.start("run", "--partitions", str(PARTITIONS), machine="first")
    place.send(20)
    if None in place.commits():
        place.wait(running, place.moved())
    moved = place.moved()
    place.go_on(BEFORE)
    place.wait(running, moved)
    place.send(ROWS_PER_LIFE // 2)
    return running


def found_wrong(place: Contest) -> list[str]:
    """Return what is not as it must be, to committed readers, once all has shown itself."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while True:
        found = [row for p in range(PARTITIONS) for row in _found_in(place, p)]
        if not found or time.monotonic() > deadline:
            return found


def _found_in(place: Contest, partition: int) -> list[str]:
    def rows(topic: str) -> list[Record]:
        reader = Reader(place.connection.servers[0])
        found = asyncio.run(reader.all(place.connection.prefix + topic, partition))
        return [to_record(row, topic) for row in found]

    # A client of the test's own: what is under test does not say what is there.
    seen = (rows(TOPICS.events), rows(TOPICS.dead_letters), rows(TOPICS.predictions))
    seal = StateDirectory(place.directory / "first").seal()
    again = differences(place.log, declared(AFTER), partition, seal)
    return [*wrong_seats(*seen, "v1"), *again]
