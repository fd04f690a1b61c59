"""What a worker process is asked for, and what it opens before it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_app.core.commit import Manifest
from stream_app.core.log import Log
from stream_app.core.pipeline import Pipeline
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory


class WorkerPlan(msgspec.Struct, frozen=True):
    """What the workers of every kind are asked for."""

    spec: str
    broker: str
    state: str
    workers: int = 1
    until_end: bool = False


class Ground(NamedTuple):
    """A pipeline, and where it is worked on."""

    log: Log
    pipeline: Pipeline
    manifest: Manifest
    state: StateDirectory


@contextmanager
def opened(plan: WorkerPlan) -> Iterator[Ground]:
    """Open what `plan` names; closes the log."""
    pipeline = load_pipeline(plan.spec)
    state = StateDirectory(Path(plan.state))
    log = open_broker(plan.broker)
    try:
        yield Ground(log, pipeline, register(log, pipeline, state.public_keys), state)
    finally:
        log.close()
