"""kill -9 at every step on a real Kafka: nobody who reads committed records can tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.kafka.connection import Connection
from tests.kafka.machine import KafkaMachine
from tests.recovery.mortal import Death, Life, Mortals, mortals
from tests.recovery.pipelines import PIPELINES
from tests.recovery.weather import fill

Deaths = list[tuple[str, int]]

# Between two deaths at its start a process gets something done, and leaves it unsaved.
START: Deaths = [
    ("after publish", 5),
    ("claimed", 1),
    ("state opened", 1),
    ("before save", 2),
    ("state restored", 1),
    ("learned again", 1),
    ("transaction committed", 4),
    ("chain verified", 1),
]
PUBLISH: Deaths = [
    ("before publish", 3),
    ("outputs sent", 1),
    ("outputs sent", 4),
    ("transaction whole", 2),
    ("transaction whole", 1),
    ("transaction committed", 1),
    ("transaction committed", 5),
    ("after publish", 2),
]
SAVE: Deaths = [
    ("memory full", 1),
    ("before save", 1),
    ("batch written", 2),
    ("WAL flushed", 1),
    ("save counted", 2),
    ("after save", 1),
    ("shutdown", 1),
    ("closing", 1),
    ("closed", 1),
]


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortals]:
    """Runs a life in a process of its own and returns how it ended."""
    with mortals() as run:
        yield run


@pytest.fixture
def machine(connection: Connection, tmp_path: Path) -> KafkaMachine:
    """A machine whose log on Kafka waits to be processed by the pipeline of a model per key."""
    [bootstrap] = connection.servers
    made = KafkaMachine(tmp_path, bootstrap, connection.prefix)
    made.make_topics(PIPELINES["by_key"])
    fill(made, PIPELINES["by_key"])
    return made


def live_through(
    mortal: Mortals, machine: KafkaMachine, deaths: Deaths, *, overlapping: bool
) -> Death:
    def life(step: str | None, nth: int) -> Death:
        place = (machine.bootstrap, machine.prefix)
        return mortal(Life(str(machine.root), "by_key", step, nth, *place, overlapping))

    for step, nth in deaths:
        death = life(step, nth)
        assert death.killed, f"was not killed at {step}, {nth}: {death}"
    last = life(None, 1)
    assert last.code == 0
    return last


@pytest.mark.parametrize(
    ("deaths", "overlapping"),
    [(START, True), (PUBLISH, False), (PUBLISH, True), (SAVE, True)],
    ids=["start", "publish", "publish while it learns", "save"],
)
def test_a_model_per_key_on_kafka_outlives_kill_9_at_every_step(
    deaths: Deaths, overlapping: bool, mortal: Mortals, machine: KafkaMachine
) -> None:
    live_through(mortal, machine, deaths, overlapping=overlapping)
    assert machine.difference(PIPELINES["by_key"]) is None
