"""The processes that die, and the machines they die on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_app.core.pipeline import Pipeline
from tests.disks import skip_without_disks
from tests.recovery.machine import Machine
from tests.recovery.mortal import Mortals, mortals
from tests.recovery.weather import fill


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
            fill(made[pipeline.name], pipeline)
        return made[pipeline.name]

    return machine


@pytest.fixture(scope="session")
def small_disks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no disk of a few megabytes can be had."""
    skip_without_disks(tmp_path_factory.mktemp("disks") / "disk")
