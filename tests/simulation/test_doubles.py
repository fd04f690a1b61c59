"""What the harness once took for a fault of the product, told of the harness alone.

A seed's storm counts lines of the product, so no seed shows any of this for ever.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from stream_app.core.log import Claim
from stream_app.core.rehearsal import SEAL
from stream_app.core.topics import Topics
from stream_app.errors import LogUnavailable
from stream_app.hosts.partition_host import PartitionHost
from stream_app.storage.memory_log import MemoryLog
from tests.simulation.doubles import Crash, Disk, Life, SimClaim, SimStore, _trace, saved_to
from tests.simulation.lineages import Lineages
from tests.simulation.world import NAME, world_of

LEDGER = Topics(NAME).ledger


def _claim(life: Life, claim: Claim, heard: list[bytes]) -> SimClaim:
    return SimClaim(life, claim, lambda commit, _expected: heard.append(commit))


def test_a_publish_that_failed_on_its_way_has_a_cause_when_it_is_told_to_a_spared_process() -> None:
    life = Life(random.Random(1))
    life.fails_after["publish"] = 0
    log = MemoryLog()
    with pytest.raises(LogUnavailable):
        _claim(life, log.claim(LEDGER, 0), []).publish([], b"", expected=None, next_offset=1)
    life.spare()
    lineages = Lineages(world_of(0), random.Random(0))
    with lineages._mishaps("plain", life):
        raise LogUnavailable("connection lost", attempt="look at the broker")
    assert life.dead


def test_no_state_comes_back_of_a_time_that_an_older_log_has_undone() -> None:
    world = world_of(0)
    log, manifest = world.log()
    disk, life = Disk(), Life(random.Random(1))
    host = PartitionHost(
        log, world.pipeline, manifest, 0, open_store=lambda: SimStore(life, disk), seal=SEAL
    )
    for until in (10, 30):
        while host.step(until=until):
            pass
        host.checkpoint()
    disk.write(disk.history[1])  # as a rebuild does, which saves on its way
    nothing, early, late, again = map(saved_to, disk.history)
    assert nothing is None
    assert early == again
    assert early is not None
    assert late is not None
    assert late > early
    disk.forget_beyond(late - 1)
    assert list(map(saved_to, disk.history)) == [None, early, early]


def test_nobody_dies_between_a_publish_and_the_note_that_the_harness_takes_of_it() -> None:
    life, heard = Life(random.Random(1)), list[int]()
    topics = Topics(NAME)

    class Watched:
        epoch = 1

        def publish(self, *_args: object, **_more: object) -> None:
            _trace(life)

    def witness(_commit: bytes, _expected: int | None) -> None:
        heard.append(len(topics.events))  # lines of the core

    watched: Any = Watched()
    before = sys.gettrace()
    try:
        life.dies_after_lines = 1
        SimClaim(life, watched, witness).publish([], b"", expected=None, next_offset=1)
        with pytest.raises(Crash):
            _ = topics.events
    finally:
        sys.settrace(before)
    assert heard == [len(topics.events)]
