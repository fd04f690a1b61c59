"""The error tree: every error says what happened, where, and what to type next.

StreamAppError
|- UsageError                  exit 2   the command or the declaration must change
|  |- DeclarationError                  a mistake in a Pipeline, caught when it is declared
|  |- VersionHosted                     a version to be built is part of the live lineage
|- DifferenceFound             exit 3   a replay did not equal what was published
|- SurroundingsError           exit 4   disk, lock or file in the way: repair and start again
|  |- LogUnavailable                    the event log cannot be opened, read or written
|  |  |- LogForbidden                   this user lacks a right on the brokers
|  |  |- RecordTooLarge                 a topic takes no batch as large as that
|  |- LogBusy                           another process stands in the way
|  |- StateUnavailable                  the state directory cannot be opened, read or written
|  |- Fenced                            a newer owner took the partition over
|  |- OutOfResources                    too little memory, space or files for this process
|  |- AddressUnavailable                an address to listen on is taken or not this machine's
|- NeedsPerson                 exit 5   going on would be silently wrong
   |- LogUntrusted                      the log is corrupt, foreign, too new or was replaced
   |- StateUntrusted                    state is unsigned, of another log, or ahead of the log
   |- DefinitionDiffers                 a version's name now means another definition
   |- SettingsDiffer                    the declaration's settings are not the log's
   |- EnvironmentDiffers                state of another River, Python or NumPy
   |- PositionMissing                   outputs or checkpoints exist but no committed position
   |- SourceUntrusted                   a source of intake lost records, or is another one
   |- GateClosed                        a version has not shown to be good enough for champion
   |- SeatRefused                       a partition did not make a version its champion
   |- VersionFailed                     the champion's model failed for good
"""

from __future__ import annotations

import errno
from typing import ClassVar


class StreamAppError(Exception):
    """An error with a way out.

    `problem` says what happened and where; `attempt` is what to type or do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, attempt: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.attempt = attempt

    def __str__(self) -> str:
        return f"{self.problem} Try: {self.attempt}"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # Keyword-only arguments do not survive Exception's own pickling, and worker processes
        # hand their errors to their parent.
        return _rebuild, (type(self), self.problem, self.attempt)


def _rebuild(kind: type[StreamAppError], problem: str, attempt: str) -> StreamAppError:
    return kind(problem, attempt=attempt)


class UsageError(StreamAppError):
    """The command line or a call must change."""

    exit_code = 2


class DeclarationError(UsageError):
    """A mistake in a pipeline's declaration; names the parameter by its path."""


class VersionHosted(UsageError):
    """A version is to be built that the live lineage runs already."""


class DifferenceFound(StreamAppError):
    """A replay did not equal what was published."""

    exit_code = 3


class SurroundingsError(StreamAppError):
    """Disk, lock or file stands in the way; once it is repaired, start again."""

    exit_code = 4


class LogUnavailable(SurroundingsError):
    """The event log cannot be opened, read or written."""


class LogForbidden(LogUnavailable):
    """The brokers deny this user a right: trying again changes nothing until it is granted."""


class RecordTooLarge(LogUnavailable):
    """A topic takes no batch as large as that: nothing changes until its bound is raised."""


class LogBusy(SurroundingsError):
    """Another process holds what is needed; the problem names its process id."""


class StateUnavailable(SurroundingsError):
    """The state directory cannot be opened, read or written."""


class Fenced(SurroundingsError):
    """A newer owner took the partition over; this one must end without saving."""


class AddressUnavailable(SurroundingsError):
    """An address to listen on is taken, not allowed, or not this machine's."""


class OutOfResources(SurroundingsError):
    """The process may not have the memory, the files or the space that it needs."""


_LACKED = {
    errno.ENOMEM: "give it more memory (ulimit -v, the limit of its container or service)",
    errno.EMFILE: "raise the number of files that a process may have open (ulimit -n 1024)",
    errno.ENFILE: "raise the number of files that this machine may have open (fs.file-max)",
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your disk quota",
}


def lacking(error: BaseException) -> OutOfResources | None:
    """Return the error for what may run short at any line, or None for any other error.

    Who opens log or state names such errors there, with what they were about; this is for the
    rest: an import, a line of Python that needs memory.
    """
    if isinstance(error, MemoryError):
        error = OSError(errno.ENOMEM, "this process ran out of memory")
    if not isinstance(error, OSError) or error.errno not in _LACKED:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return OutOfResources(
        f"{where}{error.strerror}.",
        attempt=f"{_LACKED[error.errno]} and start again: nothing is lost",
    )


class NeedsPerson(StreamAppError):
    """Going on would be silently wrong: a person has to decide."""

    exit_code = 5


class LogUntrusted(NeedsPerson):
    """The log is corrupt, foreign, too new, or not the one the state was learned from."""


class StateUntrusted(NeedsPerson):
    """State is unsigned, tampered with, of another log, or ahead of the log."""


class DefinitionDiffers(NeedsPerson):
    """A version's name stands for another definition than before."""


class SettingsDiffer(NeedsPerson):
    """The declaration's settings are not the ones the log says are in force."""


class EnvironmentDiffers(NeedsPerson):
    """State was learned under another River, Python or NumPy and cannot be loaded exactly."""


class PositionMissing(NeedsPerson):
    """Outputs or checkpoints exist, but the committed position does not: never taken as zero."""


class SourceUntrusted(NeedsPerson):
    """A source of intake lost records before they were copied, or is not the topic it was."""


class GateClosed(NeedsPerson):
    """A version has not shown what the pipeline's gate wants of a champion."""


class SeatRefused(NeedsPerson):
    """A partition has read a promote control and did not give the seat to that version."""


class VersionFailed(NeedsPerson):
    """The champion's model failed its declared number of times in a row."""
