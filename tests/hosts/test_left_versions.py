"""What claims to be an output of a version that has left, from after it left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream_app.core.commit import Manifest
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.published_rows import Difference
from stream_app.hosts.registration import register
from stream_app.hosts.replay import replay
from stream_app.hosts.state_directory import StateDirectory
from stream_app.storage.memory_log import MemoryLog
from stream_app.storage.memory_store import MemoryStore
from tests.recovery.pipelines import contest
from tests.recovery.storms import records

LEFT, END, BUILT = 60, 100, 80
PIPELINE = contest()


class History:
    """A log in which v3 left at `LEFT`, while live went on to `END`."""

    def __init__(self, state: StateDirectory) -> None:
        self.log = MemoryLog()
        self.manifest: Manifest = register(self.log, PIPELINE, state.public_keys)
        self._state = state
        self.log.append("contest.events", records(END, seed=1)[:END])
        self._fold(LEFT, versions=["v1", "v2", "v3"])
        self._fold(END, versions=["v1", "v2"])

    def build(self) -> None:
        """Let a backfill of v3 go on to `BUILT`."""
        self._fold(BUILT, backfill="v3")

    def _fold(
        self,
        until: int,
        versions: list[str] | None = None,
        backfill: str | None = None,
    ) -> None:
        with closing(
            PartitionHost(
                self.log,
                PIPELINE,
                self.manifest,
                0,
                open_store=MemoryStore,
                seal=self._state.seal(),
                versions=versions,
                backfill=backfill,
            )
        ) as host:
            while host.step(until=until):
                pass
            host.finish()

    def claim(self, topic: str, caused: int) -> None:
        """Write what looks like a prediction of v3."""
        row = self.log.read("contest.shadow.v3", 0, 0, records_max=1)[0]
        source = f"contest.events/0@{caused}".encode()
        headers = tuple((n, source if n == "source" else value) for n, value in row.headers)
        [held] = self.log._topics[topic]
        self.log.append_at(topic, 0, held.next_offset, 0, row.key, row.value, headers)

    def difference(self) -> Difference | None:
        """Return what a replay finds."""
        return replay(self.log, PIPELINE, self.manifest, 0).difference


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """Return a history; of all that is in it a replay finds nothing wrong."""
    history = History(StateDirectory(tmp_path / "state"))
    assert history.difference() is None
    yield history
    history.log.close()


@pytest.mark.parametrize("topic", ["predictions", "evaluations", "dead-letters", "shadow.v3"])
def test_a_row_that_claims_a_cause_after_its_version_left_is_a_difference(
    history: History, topic: str
) -> None:
    history.claim(f"contest.{topic}", LEFT)
    found = history.difference()
    assert found is not None
    assert (found.source, found.recomputed) == (f"contest.events/0@{LEFT}", None)


def test_what_a_version_put_out_before_it_left_is_not_compared(history: History) -> None:
    rows = history.log.read("contest.shadow.v3", 0, 0, records_max=1000)
    assert len(rows) > LEFT // 2
    assert history.difference() is None


def test_what_a_backfill_put_out_after_the_version_left_is_its_own(history: History) -> None:
    history.build()
    assert history.difference() is None
    history.claim("contest.shadow.v3", BUILT)
    found = history.difference()
    assert found is not None
    assert found.source == f"contest.events/0@{BUILT}"


def test_a_row_of_a_version_that_left_is_nobodys_in_another_versions_topic(
    history: History,
) -> None:
    history.claim("contest.shadow.v2", LEFT - 1)
    assert history.difference() is not None
