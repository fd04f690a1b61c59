"""`/livez` and `/readyz` of a `run` on Kafka while its worker process is gone."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.http_get import get
from tests.cli.processes import workers_of
from tests.cli.terminal import Running, Terminal
from tests.kafka.cluster import HasBootstrap, Place


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


def ask(running: Running, path: str) -> tuple[int, str]:
    [address] = re.findall(r'"url": "http://([^"]+)"', running.err())
    return get(address, path)


def is_ready(running: Running) -> bool:
    return ask(running, "/readyz")[0] == 200


def test_the_process_that_watches_answers_while_its_worker_is_dead_and_begins_again(
    broker: HasBootstrap, tmp_path: Path, terminal: Terminal
) -> None:
    # An orchestrator that took it for dead would kill what is about to be well again.
    place = Place(broker.bootstrap, tmp_path)
    terminal.run(place.directory, "topics", "shop.py", "--create", "--broker", place.url)
    running = terminal.start(
        place.directory, "run", "shop.py", "--http", "0", "--broker", place.url
    )
    running.wait_for(lambda: "http_listening" in running.err())
    running.wait_for(lambda: is_ready(running))
    [worker] = workers_of(running.pid)
    os.kill(worker, signal.SIGKILL)
    running.wait_for(lambda: not is_ready(running))
    alive: set[int] = set()
    said: set[str] = set()

    def is_ready_again() -> bool:
        alive.add(ask(running, "/livez")[0])
        status, body = ask(running, "/readyz")
        said.update(row["state"] for row in json.loads(body)["partitions"])
        return status == 200

    running.wait_for(is_ready_again)
    assert workers_of(running.pid) != [worker]
    assert alive == {200}
    assert "stopped" in said
    assert running.stop().code == 0
