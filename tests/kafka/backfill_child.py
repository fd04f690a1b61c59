"""A backfill on Kafka that dies by SIGKILL when a step is reached; run as a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

from stream_app.hosts.embedded import open_backfill
from stream_app.hosts.manifests import read_manifest
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.hosts.replicated_store import open_replicated
from stream_app.hosts.state_directory import StateDirectory
from stream_app.kafka.connection import Connection
from stream_app.kafka.log import KafkaLog


def main(bootstrap: str, prefix: str, directory: str, step: str, nth: str) -> None:
    """Build v3 of the hill in batches of 1,000 until `step` is reached the `nth` time."""
    pipeline = load_pipeline(f"{directory}/hill.py")
    state = StateDirectory(Path(directory) / ".stream-app/state")
    log = KafkaLog(Connection((bootstrap,), prefix=prefix))
    left = int(nth)

    def reached(now: str) -> None:
        nonlocal left
        left -= now == step
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    host = open_backfill(
        log,
        pipeline,
        read_manifest(log, "hill"),
        state,
        0,
        "v3",
        reached=reached,
        open_store=partial(open_replicated, log, "hill", state.seal().key_id),
    )
    while host.step(1000, until=host.live_position()):
        host.checkpoint()
    sys.exit("it has lived")


if __name__ == "__main__":
    main(*sys.argv[1:])
