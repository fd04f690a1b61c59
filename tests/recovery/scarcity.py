"""A machine that runs out of something at any moment: space, files, memory, the right to write.

Every start ends well or in a named error with exit code 4; once there is enough again, the next one
goes on and what it leaves is what a machine leaves that lacked nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from stream_app.cli.program import exit_code
from stream_app.errors import StreamAppError
from stream_app.records import NewRecord
from tests.disks import small_disk
from tests.recovery.damage_machines import Moment, left_by, moments
from tests.recovery.forks import Told, import_all, in_fork, told
from tests.recovery.machine import Machine, first_difference
from tests.recovery.pipelines import small

DECLARATION = "from tests.recovery.pipelines import small\n\npipeline = small()\n"
PAGE = 4096
DISK_BYTES = 24 << 20
PAGES_LEFT = (0, 1, 2, 3, 5, 8, 12, 16, 20, 24, 30, 40, 60, 90, 130, 200)
FILES_LEFT = tuple(range(1, 40, 2))
MEGABYTES_LEFT = (0, 1, 8, 64, 256, 512, 700, 760, 780, 900, 1500)
EventRow = tuple[int, bytes | None, bytes, tuple[tuple[str, bytes], ...]]


class Scarcity:
    """Starts with too little of something, and what they came to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "small_weather.py"
        self._file.write_text(DECLARATION)
        self.moments = moments(folder)
        self.came_to: Counter[str] = Counter()
        self.failures: list[str] = []

    def judge(
        self, what: str, moment: Moment, machine: Machine, scarce: Callable[[], Told], mend: Mend
    ) -> None:
        """Let a start go short of something, mend that, start again and compare."""
        ran = scarce()
        mend()
        if (why := self._why(moment, machine, ran)) is not None:
            self.fail(f"{what} ({moment.name})", why)
        self.count(what, ran, machine)

    def count(self, what: str, ran: Told, machine: Machine) -> None:
        """Take note of how a command ended."""
        self.came_to[f"{what}: {kind_of(ran, machine)}"] += 1

    def fail(self, what: str, why: str) -> None:
        """Take note of what must not be."""
        self.failures.append(f"{what}: {why}")
        print(f"FAILED: {self.failures[-1]}", flush=True)

    def _why(self, moment: Moment, machine: Machine, ran: Told) -> str | None:
        if ran.fault is not None:
            return ran.fault
        if ran.code not in {0, 4}:
            return f"exit code {ran.code}: {ran.problem} Try: {ran.attempt}"
        again = self.run(machine)
        if again.fault is not None or again.code:
            return f"did not go on: {again.fault or again.problem} (after: {ran.problem})"
        left = in_fork(lambda: left_by(machine))
        assert left is not None
        difference = first_difference(moment.undisturbed.outcome, left.outcome)
        if difference is None and left.events != moment.undisturbed.events:
            difference = "events"
        if difference is not None:
            return f"{difference} (after: {ran.problem})"
        replayed = self.replay(machine)
        return f"replay: {replayed.problem}" if replayed.code else None

    def run(self, machine: Machine, first: Callable[[], object] | None = None) -> Told:
        """Run to the log's end; `first` is done in that process before."""
        words = ["run", str(self._file), "--broker", str(machine.log_path)]
        words += ["--state", str(machine.state.root), "--until-end", "--log-level", "warning"]
        return told(lambda: _after(first, words))

    def replay(self, machine: Machine, first: Callable[[], object] | None = None) -> Told:
        """Replay; `first` is done in that process before."""
        words = ["replay", str(self._file), "--broker", str(machine.log_path)]
        return told(lambda: _after(first, [*words, "--log-level", "warning"]))


Mend = Callable[[], object]


def _after(first: Callable[[], object] | None, words: list[str]) -> int:
    if first is not None:
        first()
    return exit_code(words)


def kind_of(ran: Told, machine: Machine) -> str:
    """Say in general words how a start ended."""
    if ran.code == 0:
        return "went well"
    return f"exit code {ran.code}: {ran.problem.replace(str(machine.root.parent), '')}"


def fill(disk: Path, pages: int) -> Path:
    """Leave so many pages free."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(PAGE, (free.f_bavail - pages) * PAGE))
    return filler


class _Both(msgspec.Struct, frozen=True):
    """A machine whose log or state lies on a disk of its own."""

    machine: Machine
    disk: Path


@contextmanager
def _on_disk(moment: Moment, folder: Path, part: str) -> Iterator[_Both]:
    """Copy a machine, with its log, its state or all of it on a small disk."""
    place = Path(tempfile.mkdtemp(dir=folder))
    with small_disk(place / "disk", DISK_BYTES) as disk:
        root = place / "machine"
        if part == "all":
            root = disk / "machine"
            shutil.copytree(moment.machine.root, root)
        else:
            shutil.copytree(moment.machine.root, root)
            names = ["state"] if part == "state" else []
            for name in names:
                shutil.copytree(root / name, disk / name, copy_function=shutil.copy2)
                shutil.rmtree(root / name)
                (root / name).symlink_to(disk / name)
        yield _Both(Machine(root), disk)
    shutil.rmtree(place)


def full_disks(trial: Scarcity, folder: Path) -> None:
    """Leave so many pages on the disk of all, or of state alone, also of state to be rebuilt."""
    for part in ("all", "state"):
        for number, pages in enumerate(PAGES_LEFT):
            moment = trial.moments[number % len(trial.moments)]
            with _on_disk(moment, folder, part) as both:
                filler = fill(both.disk, pages)
                what = f"disk of {part}"
                trial.judge(
                    what,
                    moment,
                    both.machine,
                    partial(trial.run, both.machine),
                    filler.unlink,
                )


def full_temporary(trial: Scarcity, folder: Path) -> None:
    """Leave so many pages to the directory that a replay makes its own state in."""
    moment = trial.moments[-1]
    for pages in PAGES_LEFT[::2]:
        machine = moment.machine.copy(Path(tempfile.mkdtemp(dir=folder)) / "machine")
        with small_disk(folder / "temporary", DISK_BYTES) as disk:

            def go_there(disk: Path = disk) -> None:
                tempfile.tempdir = str(disk)

            filler = fill(disk, pages)
            replayed = trial.replay(machine, go_there)
            filler.unlink()
            trial.count("replay's own state", replayed, machine)
            why = replayed.fault or ("" if replayed.code in {0, 4} else replayed.problem)
            if why:
                trial.fail("replay's own state", why)
            if trial.replay(machine, go_there).code != 0:
                trial.fail("replay's own state", "it did not go on")
            if list(disk.iterdir()):
                trial.fail("replay's own state", f"left {list(disk.iterdir())}")


def full_for_producers(trial: Scarcity, folder: Path) -> None:
    """Leave so many pages to `produce`; what was not acknowledged is sent again afterwards."""
    rested = trial.moments[1]
    whole = trial.moments[2].undisturbed
    rows = whole.events[len(rested.undisturbed.events) :]
    for pages in PAGES_LEFT[::2]:
        with _on_disk(rested, folder, "all") as both:
            filler = fill(both.disk, pages)
            sent = [told(partial(_send, both.machine, batch)) for batch in _batches(rows)]
            filler.unlink()
            for batch, first in zip(_batches(rows), sent, strict=True):
                trial.count("produce", first, both.machine)
                if first.fault is not None or first.code not in {0, 4}:
                    trial.fail("produce", first.fault or first.problem)
                if first.code and told(partial(_send, both.machine, batch)).code:
                    trial.fail("produce", "it did not go on")
            left = in_fork(partial(left_by, both.machine))
            assert left is not None
            wanted = sorted(row[1:3] for row in whole.events if row[1] is not None)
            if sorted(row[1:3] for row in left.events if row[1] is not None) != wanted:
                trial.fail("produce", "what was acknowledged is not what is there")


def _batches(rows: list[EventRow]) -> list[list[EventRow]]:
    return [rows[begin : begin + 30] for begin in range(0, len(rows), 30)]


def _send(machine: Machine, rows: list[EventRow]) -> int:
    """Append one batch as producers do; returns the exit code that `produce` would."""
    try:
        machine.append(small(), [NewRecord(key, value, headers) for _, key, value, headers in rows])
    except StreamAppError as error:
        print(f"Error: {error.problem}\nTry: {error.attempt}", file=sys.stderr)
        return error.exit_code
    return 0


def forbidden(trial: Scarcity, folder: Path) -> None:
    """Take the right to write away: by the file system, and by whose the files are."""
    for moment in trial.moments:
        for part in ("all", "state"):
            with _on_disk(moment, folder, part) as both:
                machine = both.machine

                def remount(how: str, disk: Path = both.disk) -> None:
                    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

                remount("ro")
                trial.judge(
                    f"read-only disk of {part}",
                    moment,
                    machine,
                    partial(trial.run, machine),
                    partial(remount, "rw"),
                )
        _as_nobody(trial, folder, moment)


def _as_nobody(trial: Scarcity, folder: Path, moment: Moment) -> None:
    place = Path(tempfile.mkdtemp(dir=folder))
    for each in (folder, place):
        each.chmod(0o755)
    machine = moment.machine.copy(place / "machine")

    def be_nobody() -> None:
        # What is imported late has to be there already: nobody may not read every Python.
        words = ["run", str(folder / "small_weather.py"), "--until-end", "--log-level", "warning"]
        words += ["--broker", str(folder / "own.db"), "--state", str(folder / "own")]
        assert exit_code(words) == 0
        os.setgid(65534)
        os.setuid(65534)

    for part in (machine.root, machine.state.root, machine.log_path):
        mode = part.stat().st_mode
        part.chmod(mode | 0o055 if part.is_dir() else mode | 0o044)
    trial.judge(
        "another user's", moment, machine, lambda: trial.run(machine, be_nobody), lambda: None
    )
    shutil.rmtree(place)
    shutil.rmtree(folder / "own")
    for file in folder.glob("own.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def no_files(trial: Scarcity, folder: Path) -> None:
    """Leave so many file descriptors."""
    for number, files in enumerate(FILES_LEFT):
        moment = trial.moments[number % len(trial.moments)]

        def limit(files: int = files) -> None:
            used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + files, used + files))

        _limited(trial, folder, "files", moment, limit)


def no_memory(trial: Scarcity, folder: Path) -> None:
    """Leave so many megabytes of address space."""
    for number, megabytes in enumerate(MEGABYTES_LEFT):
        moment = trial.moments[number % len(trial.moments)]

        def limit(megabytes: int = megabytes) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (megabytes << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

        _limited(trial, folder, "memory", moment, limit)


def _limited(
    trial: Scarcity, folder: Path, what: str, moment: Moment, limit: Callable[[], object]
) -> None:
    place = Path(tempfile.mkdtemp(dir=folder))
    machine = moment.machine.copy(place / "machine")
    trial.judge(what, moment, machine, lambda: trial.run(machine, limit), lambda: None)
    shutil.rmtree(place)


KINDS: dict[str, Callable[[Scarcity, Path], None]] = {
    "disk": full_disks,
    "temporary": full_temporary,
    "produce": full_for_producers,
    "forbidden": forbidden,
    "files": no_files,
    "memory": no_memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Go short of each thing in turn; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="default: all")
    parser.add_argument("--directory", type=Path, help="where to work; default: a temporary one")
    chosen = parser.parse_args(arguments)
    import_all()
    with tempfile.TemporaryDirectory(prefix="stream-app-scarce-", dir=chosen.directory) as folder:
        trial = Scarcity(Path(folder).resolve())
        for kind in chosen.kinds or KINDS:
            KINDS[kind](trial, Path(folder).resolve())
    for what, count in sorted(trial.came_to.items()):
        print(f"{count:>4}  {what}")
    print(f"{trial.came_to.total()} starts, {len(trial.failures)} failed")
    return 1 if trial.failures else 0


if __name__ == "__main__":
    sys.exit(main())
