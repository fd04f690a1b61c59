"""What a seed does to a machine's files: bits flip, ends are lost, files go or come back older."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.recovery.machine import Machine

_SECTOR = 512


class Damage(msgspec.Struct, frozen=True):
    """What was done to one place of a machine; `place` is below its root."""

    place: str
    done: str

    @property
    def of_log(self) -> bool:
        """Whether the log was damaged, and not state, which is only a shortcut to it."""
        return self.place.startswith("log.db") and not self.place.startswith("log.db.locks")

    @property
    def may_lose_an_end(self) -> bool:
        """Whether SQLite may go back to an older whole state of the log without a word."""
        whole = "older copy" in self.done or self.done == "removed"
        return self.of_log and (self.place != "log.db" or whole)

    @property
    def kind(self) -> str:
        """What the place is, without numbers and ids."""
        name = self.place.rpartition("/")[2]
        if not self.place.startswith("state"):
            return self.place.partition("/")[0]
        if "/rocksdb/" not in self.place:
            return name if "keys" in self.place or name == "saves" else "a directory of state"
        return f"rocksdb {''.join(c for c in name if not c.isdigit()).strip('-.')}"


Way = Callable[[random.Random, Path], str]


def _flip(rng: random.Random, file: Path) -> str:
    content = bytearray(file.read_bytes())
    if not content:
        return "left empty"
    places = [rng.randrange(len(content)) for _ in range(rng.choice((1, 1, 1, 2, 8, 40)))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    return f"{len(places)} bits flipped, the first in byte {places[0]}"


def _overwrite(rng: random.Random, file: Path) -> str:
    content = bytearray(file.read_bytes())
    begin = rng.randrange(max(1, len(content) // _SECTOR)) * _SECTOR
    length = min(rng.choice((1, 8, 16)) * _SECTOR, len(content) - begin)
    zeros = rng.random() < 0.5
    content[begin : begin + length] = bytes(length) if zeros else rng.randbytes(length)
    file.write_bytes(content)
    return f"{length} bytes from {begin} on {'zeroed' if zeros else 'scrambled'}"


def _truncate(rng: random.Random, file: Path) -> str:
    content = file.read_bytes()
    size = rng.choice((0, rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
    file.write_bytes(content[:size])
    return f"cut from {len(content)} to {size} bytes"


def _extend(rng: random.Random, file: Path) -> str:
    more = rng.choice((1, 100, 5000))
    with file.open("ab") as opened:
        opened.write(rng.randbytes(more))
    return f"{more} bytes of noise behind its end"


def _remove(_rng: random.Random, file: Path) -> str:
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    return "removed"


_WAYS: list[tuple[Way, int]] = [
    (_flip, 8),
    (_overwrite, 4),
    (_truncate, 4),
    (_extend, 1),
    (_remove, 2),
]


def damage(rng: random.Random, machine: Machine, before: Machine | None) -> list[Damage]:
    """Damage one place of a machine, sometimes two; older copies come from `before`."""
    return [_one(rng, machine, before) for _ in range(1 if rng.random() < 0.85 else 2)]


def _one(rng: random.Random, machine: Machine, before: Machine | None) -> Damage:
    if before is not None and rng.random() < 0.15:
        swapped = _swap(rng, machine, before)
        if swapped is not None:
            return swapped
    if rng.random() < 0.06:
        folders = [each for each in sorted(machine.root.rglob("*")) if each.is_dir()]
        folder = rng.choice(folders)
        return Damage(_relative(machine, folder), _remove(rng, folder))
    files = [each for each in sorted(machine.root.rglob("*")) if each.is_file()]
    [file] = rng.choices(files, [_weight(each) for each in files])
    [way] = rng.choices([way for way, _ in _WAYS], [weight for _, weight in _WAYS])
    return Damage(_relative(machine, file), way(rng, file))


def _weight(file: Path) -> int:
    """What carries data is hit more often than RocksDB's diary and lock files."""
    if file.name.startswith("log.db"):
        return 30
    if file.name.startswith(("LOG", "OPTIONS", "IDENTITY", "LOCK")) or file.suffix == ".lock":
        return 1
    return 8 if file.suffix == ".log" or file.name.startswith("MANIFEST") else 4


def _swap(rng: random.Random, machine: Machine, before: Machine) -> Damage | None:
    """Put an older copy of a file or of a directory in its place; None where there is none."""
    places = [
        place
        for place in (_relative(before, each) for each in sorted(before.root.rglob("*")))
        if (machine.root / place).exists() and place != "state" and not place.endswith(".locks")
    ]
    if not places:
        return None
    place = rng.choice([*places, *(place for place in places if place.startswith("log.db"))])
    alone = rng.random() < 0.5
    for name in [place] if alone or place != "log.db" else ["log.db", "log.db-wal", "log.db-shm"]:
        _replace(machine.root / name, before.root / name)
    return Damage(place, f"an older copy {'of it' if alone else 'with all that belongs to it'}")


def _replace(mine: Path, older: Path) -> None:
    if mine.is_dir():
        shutil.rmtree(mine)
    else:
        mine.unlink(missing_ok=True)
    if older.is_dir():
        shutil.copytree(older, mine)
    elif older.exists():
        shutil.copy2(older, mine)


def _relative(machine: Machine, place: Path) -> str:
    return place.relative_to(machine.root).as_posix()
