"""Topics that are changed under a running worker: an error that says what, never silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stream_app.kafka.log import KafkaLog
from stream_app.records import NewRecord
from tests.cli.terminal import Terminal
from tests.kafka.cluster import HasBootstrap, Place
from tests.kafka.test_topics import events

WITHIN_S = 90.0
ANOTHER_MODEL = "LogisticRegression(l2=0.5)"


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    opened = Terminal(tmp_path_factory.mktemp("terminal"))
    yield opened
    opened.close()


@pytest.fixture
def place(broker: HasBootstrap, tmp_path: Path, terminal: Terminal) -> Iterator[Place]:
    """A pipeline with topics and events, nothing of them processed."""
    made = Place(broker.bootstrap, tmp_path)
    make_topics(made, terminal)
    send(made, terminal, 300)
    yield made
    made.delete()


def make_topics(place: Place, terminal: Terminal) -> None:
    shown = terminal.run(
        place.directory, "topics", "shop.py", "--create", "--partitions", "1", "--broker", place.url
    )
    assert shown.code == 0, shown


def send(place: Place, terminal: Terminal, count: int, name: str = "o") -> None:
    rows = events(count).replace('"id": "o', f'"id": "{name}')
    (place.directory / "rows.jsonl").write_text(rows)
    shown = terminal.run(place.directory, "produce", "shop.py", "rows.jsonl", "--broker", place.url)
    assert shown.code == 0, shown


class Running:
    """`stream-app run` as a process, and what it said."""

    def __init__(self, place: Place) -> None:
        self._log = place.directory / "run.log"
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "stream_app", "run", "shop.py"),
                    *("--broker", place.url, "--state", str(place.directory / "state")),
                ],
                cwd=place.directory,
                env={**os.environ, "PYTHONPATH": str(Path.cwd())},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def ends(self) -> int:
        return self._process.wait(WITHIN_S)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def running(place: Place) -> Iterator[Running]:
    """A worker that has processed everything."""
    process = Running(place)
    try:
        wait_until(lambda: '"lag": 0' in process.said, process)
        yield process
    finally:
        process.close()


def wait_until(happened: Callable[[], bool], process: Running) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not happened():
        assert time.monotonic() < deadline, process.said
        time.sleep(0.1)


def test_a_topic_that_is_deleted_is_missed_by_name(place: Place, running: Running) -> None:
    place.delete("events")
    assert running.ends() == 2
    assert place.topic("events") in running.said


def test_a_topic_that_is_made_anew_and_longer_is_another_one(
    place: Place, running: Running, terminal: Terminal
) -> None:
    running.close()
    place.delete("events")
    time.sleep(1.0)
    make_topics(place, terminal)
    with closing(KafkaLog(place.connection)) as log:
        log.append(place.topic("events"), [NewRecord(b"k", b"other")] * 900)
    process = Running(place)
    try:
        assert process.ends() == 5
        assert "was deleted and made anew" in process.said
    finally:
        process.close()


def test_a_topic_that_is_made_anew_and_longer_under_a_worker_ends_it(
    place: Place, running: Running, terminal: Terminal
) -> None:
    """Frozen meanwhile, it sees nothing of the change: its next read simply goes on."""
    with running.frozen():
        place.delete("events")
        make_topics(place, terminal)
        with closing(KafkaLog(place.connection)) as log:
            log.append(place.topic("events"), [NewRecord(b"k", b"other")] * 900)
    assert running.ends() == 5
    assert "was deleted and made anew" in running.said


def test_a_partition_that_is_added_ends_the_worker_with_the_number_it_began_with(
    place: Place, running: Running
) -> None:
    place.grow("events", 2)
    assert running.ends() == 5
    assert "was given partitions: it has 2" in running.said
    assert f"{place.name} began with 1" in running.said


def test_outputs_that_a_topic_is_too_narrow_for_end_the_worker_by_its_name(
    place: Place, running: Running, terminal: Terminal
) -> None:
    place.set("predictions", max_message_bytes="200")
    send(place, terminal, 10, name="late")
    assert running.ends() == 4
    assert f"the topic {place.topic('predictions')} takes no batch as large" in running.said


def test_a_second_worker_with_another_model_of_the_same_name_is_refused_at_its_start(
    place: Place, running: Running
) -> None:
    """The first one has the only partition; the second would be told when that one is gone."""
    text = place.file.read_text()
    place.file.write_text(text.replace("LogisticRegression()", ANOTHER_MODEL))
    second = Running(place)
    try:
        assert second.ends() == 5
        assert "is declared as" in second.said
    finally:
        second.close()
