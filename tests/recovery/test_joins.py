"""Joins of versions that a backfill built, and what a crash or a rival may leave of one."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from stream_app.core.commit import decode_commit
from stream_app.core.position import read_position
from stream_app.core.rehearsal import SEAL
from stream_app.core.topics import Topics
from stream_app.errors import OutOfResources, StateUnavailable, StreamAppError, VersionHosted
from stream_app.hosts import joining
from stream_app.hosts.joining import prepare_joins
from stream_app.hosts.partition_host import PartitionHost
from stream_app.storage.memory_store import MemoryStore
from tests.simulation.world import NAME, World, world_of


class Died(BaseException):
    """The process is gone at the step that it names."""


class Machine:
    """A log with a world's records, and what is saved of its lineages."""

    def __init__(self) -> None:
        # A champion that never fails, in a history that moves no seat.
        self.world: World = next(w for w in map(world_of, range(99)) if _quiet(w))
        self.log, self.manifest = self.world.log()
        self.live, self.built = MemoryStore(), MemoryStore()

    def host(
        self,
        *versions: str,
        dies_at: str = "",
        fails: tuple[str, Exception] | None = None,
        **how: Any,
    ) -> PartitionHost:
        def reached(step: str) -> None:
            if fails is not None and step == fails[0]:
                raise fails[1]
            if step == dies_at:
                raise Died(step)

        def opened() -> MemoryStore:
            disk = "built" if "backfill" in how else "live"
            setattr(self, disk, getattr(self, disk).reopened())
            store: MemoryStore = getattr(self, disk)
            return store

        return PartitionHost(
            self.log,
            self.world.pipeline,
            self.manifest,
            0,
            open_store=opened,
            seal=SEAL,
            versions=versions or None,
            reached=reached,
            **how,
        )

    def run(
        self,
        *versions: str,
        until: int,
        dies_at: str = "",
        fails: tuple[str, Exception] | None = None,
    ) -> PartitionHost:
        """Start the live lineage, let what can join join, and go on to an offset."""
        host = self.host(*versions, dies_at=dies_at, fails=fails)

        def opened(_version: str) -> PartitionHost:
            return self.host(backfill="curious")

        prepare_joins(host, self.log, self.world.pipeline, versions, opened, lambda _row: None)
        while host.relearning or host.joining is not None or host.next_offset < until:
            host.step(until=until)
        host.finish()
        return host

    def build(self) -> None:
        host = self.host(backfill="curious")
        while host.relearning or host.next_offset < host.live_position():
            host.step(until=host.live_position())
        host.finish()
        host.close()

    def commit(self) -> Any:
        found = self.log.ledger_get(Topics(NAME).ledger, 0, "commit")
        assert found is not None
        return decode_commit(found, NAME)

    def middle(self) -> int:
        return self.world.entries[len(self.world.entries) // 2].offset + 1


def _quiet(world: World) -> bool:
    controls = any(b'"promote"' in row.value for row in world.entries)
    return world.champion == "plain" and not controls


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.run("plain", "brittle", until=machine.middle()).close()
    machine.build()
    return machine


def test_no_saved_position_lists_a_version_whose_family_is_copied_anew(machine: Machine) -> None:
    at = machine.middle()
    everything = ("plain", "brittle", "curious")
    # The first try leaves a position that lists it; the second one begins to copy anew.
    with pytest.raises(Died):
        machine.run(*everything, until=at, dies_at="version saved")
    machine.live = machine.live.reopened()
    first = read_position(machine.live)
    assert first is not None
    assert "curious" in first.versions
    with pytest.raises(Died):
        machine.run(*everything, until=at, dies_at="family taken")
    machine.live = machine.live.reopened()
    second = read_position(machine.live)
    # This very state may come back from a snapshot once the commit lists the version.
    assert second is not None
    assert "curious" not in second.versions


@pytest.mark.parametrize(
    ("kind", "short"),
    [
        (OutOfResources, MemoryError()),
        (OutOfResources, OSError(errno.ENOSPC, "No space left on device")),
        (StateUnavailable, StateUnavailable("The state is full.", attempt="free some space")),
    ],
)
def test_a_live_state_that_cannot_take_a_version_in_says_how_to_go_on_without_it(
    machine: Machine, kind: type[StreamAppError], short: Exception
) -> None:
    everything, at = ("plain", "brittle", "curious"), machine.middle()
    with pytest.raises(kind, match="while version curious joined") as caught:
        machine.run(*everything, until=at, fails=("family taken", short))
    assert "stream-app run FILE --drop curious" in caught.value.attempt
    assert caught.value.exit_code == 4
    machine.run("plain", "brittle", until=at + 5).close()  # as --drop has it
    assert sorted(machine.commit().versions) == ["brittle", "plain"]
    machine.run(*everything, until=at + 10).close()
    assert sorted(machine.commit().versions) == sorted(everything)


def test_an_error_of_our_own_while_a_version_is_taken_in_is_not_called_a_want_of_anything(
    machine: Machine,
) -> None:
    everything, at = ("plain", "brittle", "curious"), machine.middle()
    with pytest.raises(ValueError, match="ours"):
        machine.run(*everything, until=at, fails=("family taken", ValueError("ours")))


def test_a_version_that_leaves_while_another_joins_is_still_known(machine: Machine) -> None:
    at = machine.middle()
    machine.run("plain", "curious", until=at).close()
    commit = machine.commit()
    assert sorted(commit.versions) == ["curious", "plain"]
    assert commit.left == {"brittle": at, "tuned": 0}  # the latter has not begun anywhere yet
    assert commit.left_definitions["brittle"] == machine.world.pipeline.definitions()["brittle"]


def test_what_was_said_of_a_version_that_leaves_while_another_joins_is_said_no_more() -> None:
    machine = Machine()
    at = machine.world.entries[2].offset + 1
    machine.run("plain", "tuned", until=at).close()
    assert machine.commit().waiting_for_file == ["tuned"]
    machine.build()
    machine.run("plain", "curious", until=at).close()
    assert sorted(machine.commit().versions) == ["curious", "plain"]
    assert not machine.commit().waiting_for_file
    assert sorted(machine.commit().learned) == ["curious", "plain"]


def test_a_backfill_that_was_open_while_its_version_joined_goes_no_further(
    machine: Machine,
) -> None:
    rival = machine.host(backfill="curious")  # fences whoever joins it, and is none the wiser
    at = machine.middle()
    host = machine.host("plain", "brittle", "curious")
    host.adopt("curious", rival)
    leaves, end = (machine.world.entries[i].offset + 1 for i in (-5, -1))
    while host.next_offset < leaves:
        host.step(until=leaves)
    with pytest.raises(VersionHosted, match="runs curious already"):
        rival.live_position()
    host.close()
    # Nor once the version has left again: what live has put out meanwhile is out.
    machine.run("plain", "brittle", until=end).close()
    assert at < leaves == machine.commit().left["curious"]
    with pytest.raises(VersionHosted):
        rival.live_position()


def test_a_backfill_whose_state_here_is_far_behind_its_ledger_is_left_to_a_later_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live stood still while all of it was learned again."""
    monkeypatch.setattr(joining, "JOIN_RECORDS_MAX", machine.middle() - 1)
    machine.built = MemoryStore()  # it is lost, or on another machine
    host, told = machine.host("plain", "brittle", "curious"), list[str]()
    place = (machine.log, machine.world.pipeline, None)
    prepare_joins(
        host,
        *place,
        lambda _: machine.host(backfill="curious"),
        lambda row: told.append(row.why),
    )
    while host.joining is not None or host.relearning:
        host.step(until=machine.middle())
    assert "curious" not in machine.commit().versions
    [why] = [why for why in told if "saved here" in why]
    assert f"its state that is saved here is {machine.middle()} records behind" in why
    assert "stream-app backfill FILE curious, which learns them again" in why
    host.close()
    machine.build()
    machine.run("plain", "brittle", "curious", until=machine.middle()).close()
    assert "curious" in machine.commit().versions
