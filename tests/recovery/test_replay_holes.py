"""A replay of a log whose offsets have holes, as Kafka's have where transactions end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.registration import register
from stream_app.hosts.replay import replay
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from tests.recovery.pipelines import small
from tests.recovery.storms import records

GAP = 3


def test_replay_ends_at_the_commit_though_more_events_are_there(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    with closing(MemoryLog()) as log:
        manifest = register(log, small(), state.public_keys)
        rows = records(60)
        for number, row in enumerate(rows):
            log.append_at(
                "small.events", 0, number * GAP, 1_700_000_000_000, row.key, row.value, row.headers
            )
        with closing(
            PartitionHost(log, small(), manifest, 0, open_store=MemoryStore, seal=state.seal())
        ) as host:
            while host.step(until=len(rows) // 2 * GAP):
                pass
            committed = host.next_offset
        report = replay(log, small(), manifest, 0)
        assert report.difference is None
        assert report.next_offset == committed
