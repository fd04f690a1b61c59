"""Whoever is overtaken while it still opens its state is fenced; nothing is lost or strange."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from stream_app.errors import Fenced
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from tests.recovery.pipelines import small
from tests.recovery.storms import records


def test_outputs_that_an_overtaker_put_out_meanwhile_are_no_lost_position(tmp_path: Path) -> None:
    """State that comes back slowly gives others the time to claim, publish and commit."""
    state = StateDirectory(tmp_path / "state")
    with closing(MemoryLog()) as log:
        manifest = register(log, small(), state.public_keys)
        log.append("small.events", records(60))

        def overtaken() -> MemoryStore:
            place = (log, small(), manifest, 0)
            with closing(PartitionHost(*place, open_store=MemoryStore, seal=state.seal())) as other:
                while other.step():
                    pass
            return MemoryStore()

        with pytest.raises(Fenced):
            PartitionHost(log, small(), manifest, 0, open_store=overtaken, seal=state.seal())
