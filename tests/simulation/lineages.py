"""Lives in which versions come and go: redeployed, built beside live, joined, promoted, seated."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

from stream_app.core.authority import Keys
from stream_app.core.commit import Commit, decode_commit, encode_commit
from stream_app.core.seats import Seat, SeatChange
from stream_app.core.topics import Topics
from stream_app.errors import (
    Fenced,
    LogUnavailable,
    LogUntrusted,
    StateUnavailable,
    UsageError,
    VersionFailed,
    VersionHosted,
)
from stream_app.events import Control
from stream_app.hosts.controls import signed
from stream_app.hosts.joining import Waits, prepare_joins
from stream_app.hosts.partition_host import PartitionHost
from stream_app.hosts.promoting import seat_at_committed
from stream_app.hosts.state_directory import StateDirectory
from tests.simulation.doubles import Crash, Disk, Life, SimLog, turn_of
from tests.simulation.reference import SeatRow
from tests.simulation.simulation import (
    LIVES_MAX,
    STEPS_MAX,
    Backup,
    Outcome,
    Simulation,
    Wrong,
    seats_of,
)
from tests.simulation.world import NAME, PRIVATE_KEYS, VERSIONS, World

_LEDGER = Topics(NAME).ledger
_NEVER_FAIL = ["plain", "curious"]


@dataclass(frozen=True)
class Stretch:
    """Which versions the live lineage hosted while it published these records."""

    start: int
    end: int
    hosted: frozenset[str]


# What is saved of a backfill may be far behind what its ledger says.
_FAR = "its state that is saved here is "


class Lineages(Simulation):
    """One seed's lives of all its lineages; a calm one hosts every version from the start."""

    def __init__(self, world: World, draw: random.Random | None) -> None:
        super().__init__(world, draw)
        self.seated: list[SeatRow] = []
        # Where the outputs of those begin that a backfill has built.
        self.begins: dict[str, int] = {}
        self.stretches: list[Stretch] = []
        self._wanted = set(VERSIONS)
        self._disks = {name: Disk() for name in VERSIONS}
        self._holders: dict[str, Life] = {}  # who has a version's disk open
        self._building: dict[str, tuple[Life, PartitionHost]] = {}
        self._opened_now: set[str] = set()
        self._behind: list[Life] = []
        self._left_building: list[tuple[str, Life, PartitionHost]] = []
        if draw is not None:
            self._wanted = {name for name in VERSIONS if draw.random() < 0.4}

    def storm(self) -> Outcome:
        """Live until the live lineage has processed all; raises `Wrong`."""
        self._weather()
        self._drain()
        return self.standing()

    def all_joined(self) -> Outcome:
        """Go on without faults until every version is live; raises `Wrong`."""
        self._storm = False
        self._wanted = set(VERSIONS)
        if self._live_or_none() is not None:
            for name in sorted(set(VERSIONS) - self.live().versions.keys()):
                self._build(name)
        for _ in range(LIVES_MAX):
            if self._live():
                return self.standing()
        raise Wrong("it does not come to an end")

    def standing(self) -> Outcome:
        """Return what has come of it until now."""
        return replace(super().standing(), seated=list(self.seated))

    def live(self) -> Commit:
        """Return the live committed position, which is there."""
        commit = self._live_or_none()
        assert commit is not None
        return commit

    def saved_keys(self) -> dict[str, list[bytes]]:
        """Return the keys of what the live state has saved of versions, digests aside."""
        families = {f: rows for f, rows in self._disk.families.items() if f.startswith("version.")}
        # Digests of models (`g`) are written when somebody has asked for them.
        return {f: sorted(k for k in rows if k[:1] != b"g") for f, rows in families.items()}

    def published_to(self, version: str) -> int:
        """Return up to where a version's outputs are out."""
        live, built = self.live(), self._log._ledger.get((f"{_LEDGER}.{version}", 0, "commit"))
        if version in live.versions:
            return live.next_offset
        to = 0 if built is None else decode_commit(built, version).next_offset
        return max(to, live.left.get(version, 0))

    def hosted(self, at: int) -> frozenset[str]:
        """Return the versions that were live when the record at an offset was published."""
        [row] = [row for row in self.stretches if row.start <= at < row.end]
        return row.hosted

    def _live_or_none(self) -> Commit | None:
        found = self._log._ledger.get((_LEDGER, 0, "commit"))
        return None if found is None else decode_commit(found, NAME)

    # --- the live lineage -----------------------------------------------------------------------

    def _live(self) -> bool:
        if self._storm and self._draw.random() < 0.25:
            self._wanted = {name for name in VERSIONS if self._draw.random() < 0.6}
            self.tally["redeployed"] += 1
        if self._storm and self._draw.random() < 0.08:
            self._seat()
        return super()._live()

    def _versions(self) -> set[str]:
        """Return what a start is told to host: the champion is among it."""
        commit = self._live_or_none()
        champion = self._manifest.initial_champion if commit is None else commit.seat.champion
        return self._wanted | {champion}

    def _host(self, life: Life, disk: Disk | None = None, lost_below: int = 0) -> PartitionHost:
        wanted = self._versions()
        file = self.world.pipeline
        told: list[str] | None = sorted(wanted)
        if self._storm and self._draw.random() < 0.3:
            # Not told, but in a file that declares no others; whom it begins with is of no account.
            file, told = self.world.file(wanted, self._draw.choice(sorted(wanted))), None
        log: Any = SimLog(life, self._log, lost_below, self._take_note)
        self._opened_now.clear()
        host = self._opened(life, self._disk if disk is None else disk, log, file, versions=told)
        opened = partial(self._open_built, life)
        prepare_joins(host, log, file, told, opened, partial(self._left_out, life))
        return host

    def _work(self, host: PartitionHost, life: Life) -> bool:
        try:
            return self._steps(host, life)
        except VersionFailed:
            host.close()
            life.dead = True
            self.tally["stuck"] += 1
            if not self._storm or self._draw.random() < 0.7:
                self._free()
            return False

    def _take_note(self, ledger: str, value: bytes, expected: int | None) -> None:
        """Remember what was published by whom; the commit's own words are checked against it."""
        super()._take_note(ledger, value, expected)
        if ledger != _LEDGER:
            return
        commit, before = decode_commit(value, NAME), expected or 0
        if commit.next_offset > before:
            hosted = frozenset(commit.versions)
            self.stretches.append(Stretch(before, commit.next_offset, hosted))
        elif [row.hosted for row in self.stretches[-1:]] != [frozenset(commit.versions)]:
            self.tally["joined"] += 1

    def _left_out(self, life: Life, row: Waits) -> None:
        if (
            life.dead
            or life in self._behind
            or "cannot join" not in row.why
            or row.version in self._opened_now
        ):
            return
        if _FAR in row.why:
            self.tally["joins from too far"] += 1
            return
        if not life.failed:
            raise Wrong(f"{row.version} is left out without a cause: {row.why}")
        self.tally["joins that failed"] += 1

    # --- the seat -------------------------------------------------------------------------------

    def _free(self) -> None:
        """Take the seat from a champion that is stuck; who could have it may have to be built."""
        commit = self.live()
        if commit.versions.keys() & set(_NEVER_FAIL) - {commit.seat.champion}:
            self._seat()
            return
        [name, *_] = [name for name in _NEVER_FAIL if name != commit.seat.champion]
        self._wanted.add(name)
        self._build(name)

    def _seat(self) -> None:
        """Seat a version at the committed position; who is not live and sound is refused."""
        commit = self._live_or_none()
        if commit is None:
            return
        life = Life(self._draw)
        others = [name for name in VERSIONS if name != commit.seat.champion]
        unfit = {*commit.failed, *(commit.waiting_for_file or [])}
        sound = [name for name in others if name in commit.versions and name not in unfit]
        name = self._draw.choice(sound if sound and self._draw.random() < 0.8 else others)
        if self._storm and self._draw.random() < 0.3:
            life.dies_after_calls = self._draw.randrange(5)
        log: Any = SimLog(life, self._log, witness=partial(self._seated, name))
        try:
            with turn_of(life):
                seat_at_committed(log, self._manifest, _state(), name, "stuck", None)
        except Crash:
            return
        except UsageError:
            if name not in sound:
                return
            raise
        if name not in sound:
            raise Wrong(f"{name} has the seat, which is no place for it: {commit}")

    def _seated(self, name: str, _ledger: str, _commit: bytes, expected: int | None) -> None:
        self.seated.append(SeatRow(expected or 0, name))
        self.tally["seated at the committed position"] += 1

    # --- backfills ------------------------------------------------------------------------------

    def _beside(self) -> None:
        """Let a backfill go on now and then, or begin."""
        commit = self._live_or_none()
        if not self._storm or commit is None or self._draw.random() > 0.4:
            return
        absent = sorted({*self._building, *set(VERSIONS) - commit.versions.keys()})
        if not absent and self._draw.random() < 0.9:
            return
        name = self._draw.choice(absent or VERSIONS)
        if name not in self._building:
            self._begin(name)
            return
        life, host = self._building[name]
        with self._mishaps(name, life, host):
            with turn_of(life):
                until = host.live_position()
                host.step(self._draw.choice([1, 2, 5, 20]), until=until)
                dice = self._draw.random()
                if dice < 0.05:
                    host.finish()
                    self._end(name)
            if 0.05 <= dice < 0.1:
                self._left_building.append((name, *self._building.pop(name)))
                self.tally["backfills frozen"] += 1

    def _begin(self, name: str) -> None:
        life = Life(self._draw)
        self._befall(life)
        self._opened_now.add(name)
        with self._mishaps(name, life), turn_of(life):
            self._building[name] = life, self._open_built(life, name)
            self.tally["backfills"] += 1

    def _end(self, name: str) -> None:
        life, host = self._building.pop(name)
        host.close()
        life.dead = True

    @contextmanager
    def _mishaps(self, name: str, life: Life, host: PartitionHost | None = None) -> Iterator[None]:
        """Let a backfill die and fail as it may; raises `Wrong` for what has no cause."""
        try:
            yield
        except Crash:
            self.tally["backfills crashed"] += 1
        except (LogUnavailable, StateUnavailable) as error:
            if not life.failed:
                raise Wrong(f"without a cause: {error.problem}") from error
        except (Fenced, VersionHosted) as error:
            if isinstance(error, Fenced) and not self._succeeded(name, host):
                raise Wrong(f"without a cause: {error.problem}") from error
            self.tally["backfills that had to end"] += 1
        else:
            return
        if self._building.get(name) == (life, host):
            del self._building[name]
        life.dead = True

    def _succeeded(self, name: str, host: PartitionHost | None) -> bool:
        return (
            host is not None
            and self._log._standings[f"{_LEDGER}.{name}", 0].epoch > host._claim.epoch
        )

    def _open_built(self, life: Life, name: str) -> PartitionHost:
        """Open a version's backfill on its disk, or an older copy while that is in use."""
        holder = self._holders.get(name)
        lost = self._draw.random() if self._storm else 1.0
        if (holder not in (None, life) and not holder.dead) or lost < 0.15:
            self._disks[name] = self._disks[name].rolled_back(self._draw)
        elif lost < 0.2:
            self._disks[name] = Disk()
        self._holders[name] = life
        since = self._since()
        witness = partial(self._note_begin, name, min(since, self.live().next_offset))
        log: Any = SimLog(life, self._log, witness=witness)
        disk, file = self._disks[name], self.world.pipeline
        return self._opened(life, disk, log, file, backfill=name, since=since)

    def _since(self) -> int:
        """Return where a backfill is told to begin with outputs; the first word counts."""
        if not (self._storm and self.world.bounds) or self._chance.random() < 0.3:
            return 0
        return self._chance.randint(0, self.world.entries[-1].offset + 1)

    def _note_begin(
        self, name: str, since: int, ledger: str, value: bytes, expected: int | None
    ) -> None:
        if expected is None:
            # What live has put out before is not to have a hole behind it.
            self.begins[name] = 0 if self.live().left.get(name) else since
            self.tally["backfills that begin in mid-log"] += self.begins[name] > 0
        self._take_note(ledger, value, expected)

    def _build(self, name: str) -> None:
        """Build a version up to the live position, with nothing in between."""
        host = self._open_built(Life(self._draw), name)
        for _ in range(STEPS_MAX):
            host.step(until=host.live_position())
            if host.idle and not host.relearning:
                break
        host.finish()
        host.close()
        self._holders[name].dead = True

    # --- those that were left behind ------------------------------------------------------------

    def _freeze(self, life: Life, host: PartitionHost) -> None:
        super()._freeze(life, host)
        self._behind.append(life)  # who joins there may find that the backfill is beyond them

    def _owned(self) -> Any:
        """Return what is live's alone: a frozen owner may still own a backfill that it joins."""
        shadow = Topics(NAME).shadow("")
        lengths = {t: len(rows) for t, rows in self._published().items() if shadow not in t}
        return self._log._ledger.get((_LEDGER, 0, "commit")), lengths

    def _thaw(self) -> None:
        """Let backfills that were frozen go on, too: as far as they may, if nobody came after."""
        super()._thaw()
        left, self._left_building = self._left_building, []
        for row in left:
            self._go_on(*row)

    def _drain(self) -> None:
        """Let all backfills that are still there go on as far as they may."""
        for name, (life, host) in list(self._building.items()):
            self._go_on(name, life, host)
        self._building.clear()

    def _go_on(self, name: str, life: Life, host: PartitionHost) -> None:
        life.spare()
        with self._mishaps(name, life, host):
            for _ in range(STEPS_MAX):
                host.step(until=host.live_position())
                if host.idle and not host.relearning:
                    break
            host.finish()
            host.close()
        life.dead = True

    # --- what must be noticed -------------------------------------------------------------------

    def _sabotage(self) -> None:
        if self._draw.random() < 0.3:
            self._end_backfills()
            self._forged_seat()
        else:
            super()._sabotage()

    def _end_all(self) -> None:
        super()._end_all()
        self._end_backfills()

    def _end_backfills(self) -> None:
        for life, _ in self._building.values():
            life.dead = True
        self._building.clear()
        self._left_building.clear()

    def _restore(self, backup: Backup) -> None:
        super()._restore(backup)
        self._disks = {name: Disk() for name in VERSIONS}  # some are ahead of their ledger now
        to = self.live().next_offset
        self.stretches = [row for row in self.stretches if row.end <= to]
        built = [name for name in VERSIONS if f"{_LEDGER}.{name}" in backup.commits]
        self.begins = {name: at for name, at in self.begins.items() if name in built}
        known = seats_of(self._log._ledger[_LEDGER, 0, "commit"])
        # Equal ones may follow each other at one position, so it is how many there were by then.
        self.seated = self.seated[: sum(row.control is None for row in known)]

    def _forged_seat(self) -> None:
        """Seat somebody in the ledger whom nobody has ordered there."""
        place = (_LEDGER, 0, "commit")
        commit, honest = self._live_or_none(), self._log._ledger.get(place)
        if commit is None or honest is None:
            return
        champion = self._draw.choice(sorted(commit.versions))
        since = self._draw.choice([commit.next_offset, self._draw.randint(0, commit.next_offset)])
        forge = self._draw.choice([self._nobodys, self._elsewhere, self._of_another, self._unknown])
        change = forge(champion, since)
        keys = commit.keys
        if isinstance(keys, Keys) and keys.revoked and self._chance.random() < 0.5:
            since = commit.next_offset
            change = self._signed(champion, since, self._chance.choice(sorted(keys.revoked)))
        seats = sorted([*commit.seats, change], key=lambda row: row.since)
        forged = msgspec.structs.replace(commit, seat=Seat(champion, since), seats=seats)
        self._log._ledger[place] = encode_commit(forged)
        self._expect(LogUntrusted, f"a forged seat {change}", self._host)
        self._log._ledger[place] = honest
        self.tally["forged seat"] += 1

    def _nobodys(self, champion: str, since: int) -> SeatChange:
        return SeatChange(since, champion, "promote-of-nobody")

    def _elsewhere(self, champion: str, since: int) -> SeatChange:
        return msgspec.structs.replace(self._signed(champion, since + 1, "k1"), since=since)

    def _of_another(self, champion: str, since: int) -> SeatChange:
        return msgspec.structs.replace(self._signed("gone", since, "k1"), champion=champion)

    def _unknown(self, champion: str, since: int) -> SeatChange:
        change = self._signed(champion, since, "k2")
        return msgspec.structs.replace(change, sig=change.sig.replace("k2", "k9"))

    def _signed(self, champion: str, since: int, name: str) -> SeatChange:
        control_id = f"seat-forged-0@{since}"
        control = Control(control_id, 5, "seat", version=champion)
        sig = signed(control, self._manifest, PRIVATE_KEYS[name], name).sig or ""
        return SeatChange(since, champion, control_id, sig=sig, ts_ms=5)


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="simulation-")


@cache
def _state() -> StateDirectory:
    """Return a state directory that has every key of the worlds, whichever is in force."""
    state = StateDirectory(Path(_directory().name) / "state")
    state.seal()
    for name, private in PRIVATE_KEYS.items():
        file = state.signing_key_file(NAME, name)
        file.write_bytes(private)
        file.chmod(0o600)
    return state
