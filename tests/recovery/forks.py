"""Does things in forks: only a fork ends when native code crashes, hangs or wants all memory.

What is forked has opened neither log nor state before, and runs no threads.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")

HANGS_AFTER_S = 60
MEMORY_BYTES_MAX = 8 << 30


class Told(msgspec.Struct, frozen=True):
    """How a command ended, and what it wrote to standard error."""

    code: int
    err: str

    @property
    def fault(self) -> str | None:
        """What no command may ever end like, or None."""
        if self.code == -signal.SIGALRM:
            return "it hung"
        if self.code < 0:
            return f"its process died of {signal.Signals(-self.code).name}"
        if "Traceback" in self.err or "panicked" in self.err:
            return f"a traceback: {self.err[-1500:]}"
        if self.code not in {0, 3, 4, 5}:
            return f"exit code {self.code}: {self.err[-600:]}"
        if self.code and not (self.problem and len(self.attempt) > 10):
            return f"exit code {self.code} without an error and a way out: {self.err[-600:]}"
        return None

    @property
    def problem(self) -> str:
        """What its error says."""
        return self._after("Error: ")

    @property
    def attempt(self) -> str:
        """What its error asks for."""
        return self._after("Try: ")

    def _after(self, word: str) -> str:
        found = [line for line in self.err.splitlines() if line.startswith(word)]
        return found[-1].removeprefix(word) if found else ""


def import_all() -> None:
    """Import what commands do, once for all forks."""
    for module in ("registration", "replay", "workers"):
        importlib.import_module(f"stream_app.hosts.{module}")
    importlib.import_module("stream_app.cli.commands")
    gc.collect()
    gc.freeze()  # every fork would look at all that was imported


def told(command: Callable[[], int]) -> Told:
    """Run a command in a fork; what it prints to standard output is thrown away."""
    with tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                bounded()
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(err.fileno(), 2)
                code = command()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        status = os.waitpid(pid, 0)[1]
        err.seek(0)
        return Told(os.waitstatus_to_exitcode(status), err.read().decode("utf-8", "replace"))


def in_fork(work: Callable[[], T]) -> T | None:
    """Return what `work` returns in a fork, None if it was killed there; raises what it raises."""
    with tempfile.TemporaryFile() as answer:
        pid = os.fork()
        if pid == 0:
            try:
                bounded()
                said: tuple[object, BaseException | None] = work(), None
            except BaseException as error:
                said = None, error
            os.write(answer.fileno(), pickle.dumps(said))
            os._exit(0)
        os.waitpid(pid, 0)
        answer.seek(0)
        pickled = answer.read()
    if not pickled:
        return None
    value, raised = pickle.loads(pickled)
    if raised is not None:
        raise raised
    returned: T = value
    return returned


def bounded() -> None:
    """End this process when it hangs, or takes memory that others need."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(HANGS_AFTER_S)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
