"""The processes that die, and the machines they die on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.events import Control
from stream_app.hosts.controls import append_settings, signed, to_every_partition
from tests.recovery.machine import Machine
from tests.recovery.mortal import Mortals, mortals
from tests.recovery.storms import BEGIN_MS, records


@pytest.fixture(scope="session")
def mortal() -> Iterator[Mortals]:
    """Runs a life in a process of its own and returns how it ended."""
    with mortals() as run:
        yield run


@pytest.fixture(scope="session")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Pipeline], Machine]:
    """Returns a machine whose log waits to be processed; copy it before use."""
    made: dict[str, Machine] = {}

    def machine(pipeline: Pipeline) -> Machine:
        if pipeline.name not in made:
            root: Path = tmp_path_factory.mktemp(pipeline.name)
            made[pipeline.name] = Machine(root)
            _fill(made[pipeline.name], pipeline)
        return made[pipeline.name]

    return machine


def _fill(machine: Machine, pipeline: Pipeline) -> None:
    """Append the events, with a change of settings in their middle and the end of time behind."""
    keyed = pipeline.model_per == "key"
    rows = records(600 if keyed else 1450, keyed=keyed)
    middle = len(rows) * 3 // 5
    manifest = machine.begin(pipeline, rows[:middle])
    key = machine.state.signing_key()
    machine.state.seal()
    with closing(machine.log()) as log:
        old = pipeline.settings()
        reporting = msgspec.structs.replace(old.reporting, evaluate_every=45)
        new = msgspec.structs.replace(old, reporting=reporting)
        append_settings(log, manifest, key, old, new, "a test")
        machine.append(pipeline, rows[middle:])
        end = Control("end", BEGIN_MS + 10_000_000, "time")
        controls = to_every_partition(signed(end, manifest, key), manifest)
        log.append(Topics(pipeline.name).events, controls)
