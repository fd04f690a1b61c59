"""A log with a storm in it: what every machine here has to process."""

from __future__ import annotations

from contextlib import closing

import msgspec

from stream_app.core.pipeline import Pipeline
from stream_app.core.topics import Topics
from stream_app.events import Control
from stream_app.hosts.controls import Signer, append_settings, signed, to_every_partition
from stream_app.hosts.state_directory import KEY_NAME
from tests.recovery.machine import Machine
from tests.recovery.storms import BEGIN_MS, records


def fill(machine: Machine, pipeline: Pipeline) -> None:
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
        append_settings(log, manifest, lambda: Signer(KEY_NAME, key), old, new, "a test")
        machine.append(pipeline, rows[middle:])
        end = Control("end", BEGIN_MS + 10_000_000, "time")
        controls = to_every_partition(signed(end, manifest, key), manifest)
        log.append(Topics(pipeline.name).events, controls)
