"""What became of a damaged machine: results as ever, or an error with a way out."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from stream_app.cli.program import exit_code
from stream_app.errors import StreamAppError
from tests.recovery.damage_cases import Damage
from tests.recovery.damage_machines import Left, Moment, left_by
from tests.recovery.forks import Told, in_fork, told
from tests.recovery.machine import Machine, first_difference

HARMLESS = "no effect"
REFUSED = "named at start"
READING = "named by a reader"
REPLAY = "named by replay"
UNREAD = "not noticed: records lost that nothing had read"
FOR_PEOPLE = "not noticed: what the position says for people to look at, and no output depends on"
FORGOTTEN = "not noticed: an older log, and no state that knew of more"
FAILED = "FAILED"


class Verdict(msgspec.Struct, frozen=True):
    """What a case came to, in which error, and why it failed if it did."""

    came_to: str
    error: str = ""
    why: str = ""


class Trial:
    """One damaged machine before its judge."""

    def __init__(self, moment: Moment, machine: Machine, damages: list[Damage], file: Path) -> None:
        self._moment = moment
        self._machine = machine
        self._of_log = any(damage.of_log for damage in damages)
        self._loses_an_end = any(damage.may_lose_an_end for damage in damages)
        self._of_state = not all(damage.of_log for damage in damages)
        self._file = file

    def verdict(self) -> Verdict:
        """Run, read, replay, follow what errors ask for, and compare."""
        ran = self._run()
        if ran.fault is not None:
            return Verdict(FAILED, why=f"run: {ran.fault}")
        if ran.code:
            return self._way_out(REFUSED, ran)
        left = self._read()
        if isinstance(left, StreamAppError):
            return self._way_out(
                READING, Told(left.exit_code, f"Error: {left}\nTry: {left.attempt}")
            )
        difference = self._difference(left)
        if difference is not None and not self._of_log:
            return Verdict(FAILED, why=f"silently: {difference}")
        replayed = self._replay()
        if replayed.fault is not None:
            return Verdict(FAILED, why=f"replay: {replayed.fault}")
        if replayed.code:
            if not self._of_log:
                return Verdict(FAILED, why=f"replay differs: {replayed.problem}")
            return self._way_out(REPLAY, replayed)
        if difference is None:
            return Verdict(HARMLESS)
        return self._unnoticed(left, difference)

    def _unnoticed(self, left: Left, difference: str) -> Verdict:
        """Tell what nothing can notice here from what must be."""
        wanted = self._moment.undisturbed
        if left.events == wanted.events:
            if left.outcome.published == wanted.outcome.published:
                return Verdict(FOR_PEOPLE)
            return Verdict(FAILED, why=f"silently, and replay agrees: {difference}")
        learned = self._moment.committed
        if left.events[:learned] == wanted.events[:learned] and self._loses_an_end:
            return Verdict(UNREAD)
        if self._of_state and left.events == wanted.events[: len(left.events)]:
            return Verdict(FORGOTTEN)
        return Verdict(FAILED, why=f"silently, and replay agrees: {difference}")

    def _way_out(self, came_to: str, error: Told) -> Verdict:
        """Do what the error asks for; afterwards everything must be as if nothing had happened."""
        if self._of_log:
            self._restore_log()
        else:
            why = self._follow(error)
            if why is not None:
                return Verdict(FAILED, why=why)
        again = self._run()
        if again.code and self._of_log:
            # The log is whole again; what the state says of itself has its own way out.
            why = self._follow(again)
            if why is not None:
                return Verdict(FAILED, why=f"after the log was restored: {why}")
            again = self._run()
        if again.fault is not None or again.code:
            why = again.fault or again.problem
            return Verdict(FAILED, why=f"the way out did not work: {why} (after: {error.problem})")
        left = self._read()
        difference = str(left) if isinstance(left, StreamAppError) else self._difference(left)
        if difference is not None:
            return Verdict(FAILED, why=f"after the way out: {difference} (after: {error.problem})")
        return Verdict(f"{came_to}, exit code {error.code}", error.problem)

    def _follow(self, error: Told) -> str | None:
        """Do what an error about state asks for; returns what is wrong with it."""
        if error.fault is not None:
            return error.fault
        attempt, state = error.attempt, self._machine.state.root
        if error.code != 5:
            return f"damage is no fault of the surroundings: {error.problem} Try: {attempt}"
        if attempt.startswith("rm -r "):
            place = Path(attempt.removeprefix("rm -r ").partition(" and ")[0])
            if not place.is_relative_to(state):
                return f"it asks to remove {place}"
            shutil.rmtree(place)
        elif "delete" in attempt or "move this one away" in attempt:
            shutil.rmtree(state)
        else:
            return f"no way out: {error.problem} Try: {attempt}"
        return None

    def _restore_log(self) -> None:
        """Put the log back as it was: the file and what SQLite keeps beside it."""
        for suffix in ("", "-wal", "-shm"):
            mine = self._machine.root / f"log.db{suffix}"
            good = self._moment.machine.root / f"log.db{suffix}"
            mine.unlink(missing_ok=True)
            if good.exists():
                shutil.copy2(good, mine)

    def _run(self) -> Told:
        state = str(self._machine.state.root)
        return self._command("run", "--until-end", "--state", state, "--log-level", "warning")

    def _replay(self) -> Told:
        return self._command("replay", "--log-level", "warning")

    def _command(self, name: str, *more: str) -> Told:
        broker = str(self._machine.log_path)
        return told(lambda: exit_code([name, str(self._file), "--broker", broker, *more]))

    def _read(self) -> Left | StreamAppError:
        try:
            left = in_fork(lambda: left_by(self._machine))
        except StreamAppError as error:
            return error
        assert left is not None, "a reader's process died"
        return left

    def _difference(self, left: Left) -> str | None:
        wanted = self._moment.undisturbed
        if left.events != wanted.events:
            return f"events: {len(left.events)} of {len(wanted.events)}, or others"
        return first_difference(wanted.outcome, left.outcome)
