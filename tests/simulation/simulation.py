"""Lives of a partition's host in a hostile world, and what has to hold at the end of them."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from stream_app.core.commit import decode_commit, encode_commit
from stream_app.core.pipeline import Pipeline
from stream_app.core.position import POSITION
from stream_app.core.rehearsal import SEAL
from stream_app.core.topics import Topics
from stream_app.errors import (
    EnvironmentDiffers,
    Fenced,
    LogUnavailable,
    LogUntrusted,
    PositionMissing,
    StateUnavailable,
    StateUntrusted,
    StreamAppError,
    VersionFailed,
)
from stream_app.events import Control
from stream_app.hosts.partition_host import PartitionHost
from stream_app.records import Headers
from tests.simulation.doubles import (
    Crash,
    Disk,
    Life,
    Publisher,
    SimLog,
    SimPace,
    SimStore,
    position_of,
    saved_to,
)
from tests.simulation.installed import FIRST, accepting, environment_with, install
from tests.simulation.reference import ReferenceFold, Row, Seating, SeatRow
from tests.simulation.world import EVENTS, NAME, PRIVATE_KEYS, World

LIVES_MAX = 40  # after which nothing more befalls it
STEPS_MAX = 5000
_COMMIT = (Topics(NAME).ledger, 0, "commit")
_ACCEPTED = (Topics(NAME).ledger, 0, "environment")
Rows = list[tuple[bytes | None, bytes, Headers]]


class Wrong(AssertionError):
    """Something that must not be."""


@dataclass(frozen=True)
class Outcome:
    """All that a world has come to, for whoever reads it and for whoever goes on with it."""

    topics: dict[str, Rows]
    commit: bytes | None
    failed: bool
    digests: dict[str, bytes]
    seated: Sequence[SeatRow] = ()


@dataclass(frozen=True)
class Backup:
    """A log at some time: by ledger (commit, position), and how long each topic was."""

    commits: dict[str, tuple[bytes, int | None]]
    lengths: dict[str, int]


class Simulation:
    """One seed's lives; `tally` counts what befell them."""

    def __init__(self, world: World, draw: random.Random | None) -> None:
        self.world = world
        self.tally: Counter[str] = Counter()
        self._storm = draw is not None
        self._draw = draw or random.Random(0)
        self._log, self._manifest = world.log()
        self._disk = Disk()
        self._frozen: list[tuple[Life, PartitionHost]] = []
        self._backups: list[Backup] = []
        self._digests: dict[str, bytes] = {}
        self._failed = False
        # A stream of chance of its own: storms without upgrades are what they were before.
        self._chance = random.Random(f"upgrades of {world.seed}")
        self._river = FIRST

    def run(self) -> Outcome:
        """Live until all is processed; raises `Wrong`."""
        self._weather()
        if self._storm:  # what was saved at last has to be worth going on with
            self._storm = False
            self._live()
        return self.standing()

    def _weather(self) -> None:
        lives = 0
        while not self._live():
            lives += 1
            self._storm = self._storm and lives < LIVES_MAX
            if lives > 2 * LIVES_MAX:
                raise Wrong("it does not come to an end")
            if self._draw.random() < 0.3:
                self._thaw()
        self._thaw()

    def standing(self) -> Outcome:
        """Return what has come of it until now."""
        commit = self._log._ledger.get(_COMMIT)
        commit = None if commit is None else _of_the_first_river(commit)
        return Outcome(self._published(), commit, self._failed, self._digests)

    def _live(self) -> bool:
        """Live once; tells whether all was processed."""
        life = Life(self._draw)
        if not self._storm:
            return self._work(self._host(life), life)
        self._backups.append(self._backup())
        self._befall_disk()
        if self._draw.random() < 0.15:
            self._sabotage()
        if self.world.upgrades and self._chance.random() < 0.12:
            self._upgrade()
        self._befall(life)
        traced = sys.gettrace()
        try:
            return self._work(self._host(life), life)
        except Crash:
            self.tally["crashes"] += 1
        except (LogUnavailable, StateUnavailable) as error:
            if not life.failed:
                raise Wrong(f"without a cause: {error.problem}") from error
            self.tally["failures"] += 1
            life.dead = True
        finally:
            sys.settrace(traced)
        return False

    def _befall_disk(self) -> None:
        dice = self._draw.random()
        if dice < 0.2:
            self._disk = self._disk.rolled_back(self._draw)
            self.tally["states rolled back"] += 1
        elif dice < 0.3:
            self._disk = Disk()
            self.tally["states lost"] += 1

    def _befall(self, life: Life) -> None:
        """Decide what is to happen to a life."""
        dice = self._draw.random()
        if dice < 0.55:
            life.dies_after_calls = self._draw.randrange(60)
            life.dies_after_lines = self._draw.choice([0, self._draw.randint(1, 600)])
        elif dice < 0.8:
            call = self._draw.choice(["publish", "save", "read", "get"])
            life.fails_after[call] = self._draw.randrange(8)

    def _host(self, life: Life, disk: Disk | None = None, lost_below: int = 0) -> PartitionHost:
        store = self._disk if disk is None else disk
        log: Any = SimLog(life, self._log, lost_below, self._take_note)
        return self._opened(life, store, log, self.world.pipeline)

    def _opened(
        self, life: Life, disk: Disk, log: Any, pipeline: Pipeline, **how: Any
    ) -> PartitionHost:
        overlaps = self._storm and self._draw.random() < 0.5
        return PartitionHost(
            log,
            pipeline,
            self._manifest,
            0,
            open_store=lambda: SimStore(life, disk),
            seal=SEAL,
            pace=SimPace(life, 0.2 if self._storm else 0.0),
            memory=self.world.memory,
            publisher=Publisher(life) if overlaps else None,
            **how,
        )

    def _take_note(self, _ledger: str, value: bytes, _expected: int | None) -> None:
        """Look at what was published: it tells under which River it was learned."""
        under = decode_commit(value, NAME).environment.river
        if under != self._river:
            raise Wrong(f"what was learned under {self._river} says that it was under {under}")

    def _work(self, host: PartitionHost, life: Life) -> bool:
        try:
            return self._steps(host, life)
        except VersionFailed:
            self._failed = True
            return True

    def _steps(self, host: PartitionHost, life: Life) -> bool:
        for _ in range(STEPS_MAX):
            host.step(self._draw.choice([1, 1, 2, 5, 20]) if self._storm else None)
            dice = self._draw.random()
            if not host.relearning and host.idle:
                host.finish()
                self._digests = _digests(host)
                host.close()
                return True
            if self._storm and dice < 0.03:
                self._freeze(life, host)
                return False
            if self._storm and dice < 0.06:
                host.finish()
                host.close()
                self.tally["ended in order"] += 1
                return False
            self._beside()
        raise Wrong("it makes no progress")

    def _beside(self) -> None:
        """Let others go on meanwhile."""

    def _freeze(self, life: Life, host: PartitionHost) -> None:
        """Let another machine go on, with a disk of its own."""
        self._frozen.append((life, host))
        self._disk = self._disk.rolled_back(self._draw)
        self.tally["frozen"] += 1

    def _thaw(self) -> None:
        """Let those go on that were frozen while others took over: none may publish any more."""
        before = self._owned()
        newest = self._log._standings[_COMMIT[:2]].epoch if self._frozen else 0
        # Whom nobody has succeeded yet may go on.
        fenced = [row for row in self._frozen if row[1]._claim.epoch < newest]
        self._frozen = [row for row in self._frozen if row not in fenced]
        for life, host in fenced:
            life.spare()
            try:
                while host.relearning or not host.idle:
                    host.step()
                host.finish()
            except (Fenced, VersionFailed, LogUnavailable, StateUnavailable, Crash):
                self.tally["fenced"] += 1
        if self._owned() != before:
            raise Wrong("a frozen owner went on to publish")

    # --- what must be noticed -----------------------------------------------------------------

    def _sabotage(self) -> None:
        """Do what no promise holds under: it has to be a named error, and mending is the way on."""
        self._end_all()
        ways = {
            "older log": self._older_log,
            "position lost": self._position_lost,
            "foreign": self._foreign_state,
            "altered": self._altered_record,
            "lost records": self._lost_records,
        }
        what = self._draw.choice(list(ways))
        ways[what]()
        self.tally[what] += 1

    def _end_all(self) -> None:
        """Let every process end, also those that are frozen."""
        self._frozen.clear()

    def _upgrade(self) -> None:
        """Find another River: it is refused until a person accepts it, or puts the old one back."""
        self._end_all()
        before, self._river = self._river, f"0.{self._chance.randrange(1, 5)}"
        install(self._river)
        if self._river not in (before, self._accepted()) and self._learned_elsewhere():
            self._expect(EnvironmentDiffers, "another River", self._host)
            self._forge_acceptance()
            self.tally["another River"] += 1
        if self._chance.random() < 0.4:
            self._river = before
            install(before)
        elif self._river != self._accepted() and self._river != before:
            self._accept(accepting(self._river, self._manifest, PRIVATE_KEYS["k1"], "k1"))
            self.tally["accepted"] += 1

    def _learned_elsewhere(self) -> bool:
        """Tell whether anything that a start goes on from was learned under another River."""
        saved, commit = position_of(self._disk.families), self._log._ledger.get(_COMMIT)
        there = [] if commit is None else [decode_commit(commit, NAME).environment]
        there += [] if saved is None else [saved.environment]
        return any(found.river != self._river for found in there)

    def _accepted(self) -> str | None:
        note = self._log._ledger.get(_ACCEPTED)
        said = None if note is None else msgspec.json.decode(note, type=Control).environment
        return None if said is None else said["river"]

    def _accept(self, control: Control | None) -> None:
        self._log._ledger.pop(_ACCEPTED, None)
        if control is not None:
            self._log._ledger[_ACCEPTED] = msgspec.json.encode(control)

    def _forge_acceptance(self) -> None:
        """Put something into the ledger that accepts nothing, or not this River."""
        note, manifest = self._log._ledger.get(_ACCEPTED), self._manifest
        here = accepting(self._river, manifest, PRIVATE_KEYS["k1"], "k1")
        elsewhere = accepting("9.9", manifest, PRIVATE_KEYS["k1"], "k1")
        changed = msgspec.structs.replace(elsewhere, environment=here.environment)
        by_nobody = accepting(self._river, manifest, PRIVATE_KEYS["k2"], "k2")
        forged = self._chance.choice(
            [
                (EnvironmentDiffers, elsewhere),
                (LogUntrusted, changed),
                (LogUntrusted, by_nobody),
            ]
        )
        self._accept(forged[1])
        self._expect(forged[0], "an acceptance that is none", self._host)
        self._accept(None if note is None else msgspec.json.decode(note, type=Control))

    def _expect(self, error: type[StreamAppError], what: str, host: Any) -> None:
        try:
            life = Life(self._draw)
            opened = host(life)
            while opened.relearning:
                opened.step()
        except error:
            return
        except StreamAppError as other:
            raise Wrong(f"{what} is told as {type(other).__name__}: {other.problem}") from other
        raise Wrong(f"{what} was not noticed")

    def _older_log(self) -> None:
        backup = self._draw.choice(self._backups)
        if _COMMIT[0] not in backup.commits:
            return
        self._restore(backup)
        saved = self._saved()
        if saved is not None and saved > self._committed():
            self._expect(StateUntrusted, "a state ahead of the log", self._host)
            self._disk = Disk()
        # What was backed up later is of a time that never was, and so is what was saved beyond.
        self._disk.forget_beyond(self._committed())
        self._backups = [self._backup()]

    def _restore(self, backup: Backup) -> None:
        for ledger, partition in self._log._standings:
            self._log._ledger.pop((ledger, partition, "commit"), None)
            commit, at = backup.commits.get(ledger, (None, None))
            if commit is not None:
                self._log._ledger[ledger, partition, "commit"] = commit
            self._log._standings[ledger, partition].next_offset = at
        for topic, length in backup.lengths.items():
            [held] = self._log._topics[topic]
            del held.records[length:]
            held.next_offset = length

    def _position_lost(self) -> None:
        commit = self._log._ledger.pop(_COMMIT, None)
        if commit is None:
            return
        if self._saved() is not None or any(self._published().values()):
            self._expect(PositionMissing, "a lost position", self._host)
        self._log._ledger[_COMMIT] = commit

    def _foreign_state(self) -> None:
        position = position_of(self._disk.families)
        if position is None:
            return
        other = msgspec.structs.replace(position, partition=1).encode()
        foreign = Disk({**self._disk.families, POSITION: {b"position": other}})
        self._expect(
            StateUntrusted, "another partition's state", lambda life: self._host(life, foreign)
        )

    def _altered_record(self) -> None:
        """Change a byte that changes no event, between checkpoint and commit."""
        committed, saved = self._committed(), self._saved() or 0
        [held] = self._log._topics[EVENTS]
        rows = [i for i, row in enumerate(held.records) if saved <= row.offset < committed]
        if not rows:
            return
        at = self._draw.choice(rows)
        record = held.records[at]
        held.records[at] = msgspec.structs.replace(record, value=record.value + b" ")
        self._expect(LogUntrusted, "an altered record", self._host)
        held.records[at] = record
        self._disk = Disk()  # as the error says: it may have been learned from what was altered

    def _lost_records(self) -> None:
        below = (self._saved() or 0) + 1
        if below <= self._committed():
            self._expect(LogUntrusted, "a hole", lambda life: self._host(life, lost_below=below))

    # --- looking ------------------------------------------------------------------------------

    def _committed(self) -> int:
        commit = self._log._ledger.get(_COMMIT)
        return 0 if commit is None else decode_commit(commit, NAME).next_offset

    def _saved(self) -> int | None:
        return saved_to(self._disk.families)

    def _published(self) -> dict[str, Rows]:
        topics = self._log._topics
        return {
            name: [(row.key, row.value, row.headers) for row in topics[name][0].records]
            for name in Topics(NAME).all(self.world.pipeline.versions)[1:]
        }

    def _backup(self) -> Backup:
        commits = {
            ledger: (self._log._ledger[ledger, partition, "commit"], standing.next_offset)
            for (ledger, partition), standing in self._log._standings.items()
            if (ledger, partition, "commit") in self._log._ledger
        }
        return Backup(commits, {topic: len(rows) for topic, rows in self._published().items()})

    def _owned(self) -> Any:
        """Return what nobody but the newest owner may change."""
        return self._backup()


def _of_the_first_river(commit: bytes) -> bytes:
    """Return a committed position as it is where nobody has ever installed another River."""
    found = decode_commit(commit, NAME)
    return encode_commit(msgspec.structs.replace(found, environment=environment_with(FIRST)))


def _digests(host: PartitionHost) -> dict[str, bytes]:
    processor = host.processor
    digests = {version.name: version.digest() for version in processor.versions}
    acceptance = processor.authority.covered(processor.acceptance.digest())
    return {"chain": processor.chain, "acceptance": acceptance, **digests}


def check_same(calm: Outcome, storm: Outcome) -> None:
    """Raise `Wrong` with the first difference between an undisturbed run and another one."""
    for topic, rows in calm.topics.items():
        others = storm.topics[topic]
        for number, (one, other) in enumerate(zip(rows, others, strict=False)):
            if one != other:
                raise Wrong(f"{topic}@{number}: {other!r} in place of {one!r}")
        if len(rows) != len(others):
            raise Wrong(f"{topic} has {len(others)} records in place of {len(rows)}")
    if calm.commit != storm.commit:
        raise Wrong(f"the commit is {storm.commit!r} in place of {calm.commit!r}")
    if calm.failed != storm.failed or calm.digests != storm.digests:
        raise Wrong(f"state digests differ: {storm.digests} in place of {calm.digests}")


def check_reference(world: World, calm: Outcome) -> ReferenceFold:
    """Raise `Wrong` where an undisturbed run is not what the simple fold says; return that."""
    reference = world.reference(calm.seated)
    told = [row for rows in calm.topics.values() for row in map(_told, rows)]
    said = sorted((row for row in told if row), key=lambda row: row[1][0])
    for version in reference.versions:
        own = [row for name, row in said if name == version.name]
        for kind in ("prediction", "model_failure", "evaluation"):
            expected = [row for row in version.rows if row[1] == kind]
            _require_equal([row for row in own if row[1] == kind], expected, version.name)
    refused = [(row[0], row[2]) for _, row in said if row[1] == "dead_letter"]
    _require_equal(refused, reference.refusals, "dead letters")
    _require_equal(seats_of(calm.commit), reference.seating.rows, "seats")
    check_places(calm.topics, reference.seating)
    return reference


def check_places(topics: Mapping[str, Rows], seating: Seating) -> None:
    """Raise `Wrong` for what a version put out where it has no place."""
    for topic, rows in topics.items():
        for _, value, headers in rows:
            version, at = version_of(headers), offset_of(headers)
            own = topic == Topics(NAME).shadow(version)
            if version and own == (seating.champion_at(at) == version):
                raise Wrong(f"{topic} has {value!r}, and {seating.rows} is who was champion")


def version_of(headers: Headers) -> str:
    """Return the version that caused an output, or nothing for what acceptance has caused."""
    return dict(headers).get("version", b"").decode()


def offset_of(headers: Headers) -> int:
    """Return the offset of the record that caused an output."""
    return int(dict(headers)["source"].partition(b"@")[2])


def seats_of(commit: bytes | None) -> list[SeatRow]:
    """Return how a committed position says that the seat came to be who it is."""
    if commit is None:
        return []
    return [
        SeatRow(row.since, row.champion, None if row.sig else row.control, bool(row.refused))
        for row in decode_commit(commit, NAME).seats
    ]


def _require_equal(said: list[Any], expected: list[Any], what: str) -> None:
    for one, other in zip(said, expected, strict=False):
        if one != other:
            raise Wrong(f"{what}: {one} in place of {other}")
    if len(said) != len(expected):
        raise Wrong(f"{what}: {len(said)} rows in place of {len(expected)}")


def _told(row: tuple[bytes | None, bytes, Headers]) -> tuple[str, Row] | None:
    """Return (version, what the simple fold knows of an output); None for what it does not."""
    found = msgspec.json.decode(row[1])
    plain = _plain(found)
    return None if plain is None else (found.get("version", ""), plain)


def _plain(found: dict[str, Any]) -> Row | None:
    at, kind = found["source"]["offset"], found["kind"]
    if kind == "prediction":
        said, why = found["prediction"], found.get("null_reason")
        return at, kind, found["observation_id"], found["learned"], said, why
    if kind == "model_failure":
        return at, kind, found["call"], found["observation_id"]
    if kind == "dead_letter":
        return at, kind, found["reason"]
    if kind == "evaluation":
        mean = found["metrics"]["MAE"]["total"]
        error = None if mean is None else pytest.approx(mean)
        labels = dict(sorted(found["labels"].items()))
        return at, kind, found["scored"], found["unscored"], found["window"], error, labels
    return None
