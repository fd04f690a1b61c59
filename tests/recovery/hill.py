"""A pipeline whose second version is slow, or fails, exactly when a test wants it to."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from stream_app.core.commit import Commit
from stream_app.core.log import Log
from stream_app.core.topics import Topics
from stream_app.hosts.joining import built
from stream_app.hosts.manifests import committed
from stream_app.storage.sqlite_log import SqliteLog
from tests.cli.terminal import Ended, Running, Terminal

TOPICS = Topics("hill")
BATCH = 10_000
"""As `backfill` reads them; from Kafka as many as the client has at hand, if those are fewer."""
PAUSE_AT = 12_000
"""In the middle of the second batch."""

DECLARATION = """
import os
import time
from pathlib import Path

from river import base, linear_model, preprocessing

from stream_app import Binary, Pipeline, Version

FAULTS = {"memory": MemoryError, "recursion": RecursionError, "bug": AssertionError}


class Moody(base.Classifier):
    '''Waits, or raises, where the environment says so; its state tells of neither.'''

    def __init__(self):
        self.seen = 0

    def predict_proba_one(self, x, **_):
        if str(self.seen) == os.environ.get("PAUSE"):
            Path("paused").touch()
            while not Path("go").exists():
                time.sleep(0.01)
        share = (self.seen % 10) / 10
        return {True: share, False: 1 - share}

    def learn_one(self, x, y):
        if "FAULT" in os.environ:
            raise FAULTS[os.environ["FAULT"]]
        self.seen += 1


pipeline = Pipeline(
    "hill",
    task=Binary(),
    features={"wind": float},
    versions={
        "v1": Version(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
        "v3": Version(Moody()),
    },
    initial_champion="v1",
)
"""


def events(begin: int, end: int) -> str:
    """Return labelled observations as JSON lines."""
    rows = [
        {
            "kind": "observation",
            "id": f"o{i}",
            "ts_ms": 1_700_000_000_000 + i,
            "features": {"wind": float(i % 17)},
            "label": i % 3 == 0,
        }
        for i in range(begin, end)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


class Hill:
    """The hill's directory, and what an operator types there: live runs v1, v3 is built."""

    def __init__(
        self, terminal: Terminal, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self._terminal = terminal
        self._environment = dict(environment or {})
        self._alive: list[Running] = []

    def declare(self) -> None:
        """Write the declaration."""
        (self.directory / "hill.py").write_text(DECLARATION)

    def start(self, line: str, stdin: str = "", **environment: str) -> Running:
        """Start a command and go on."""
        more = {**self._environment, **environment}
        words = shlex.split(line)
        running = self._terminal.start(self.directory, *words, stdin=stdin, environment=more)
        self._alive.append(running)
        return running

    def type(self, line: str, stdin: str = "", **environment: str) -> Ended:
        """Run one command to its end."""
        return self.end(self.start(line, stdin, **environment))

    def end(self, running: Running) -> Ended:
        """See a command's end, which is never a traceback."""
        ended = running.end()
        self._alive.remove(running)
        assert "Traceback" not in ended.err, ended
        return ended

    def done(self, *lines: str) -> Ended:
        """Run commands that must end well; returns how the last one ended."""
        ended = Ended(0, "", "")
        for line in lines:
            ended = self.type(line)
            assert ended.code == 0, (line, ended)
        return ended

    def close(self) -> None:
        """End what a test that failed has left at work."""
        for running in list(self._alive):
            os.kill(running.pid, signal.SIGKILL)
            running.end()

    def paused(self, at: int = PAUSE_AT) -> Running:
        """Start a backfill; it is in the middle of a batch, of which nothing is committed."""
        running = self.start("backfill hill.py v3 --workers 1", PAUSE=str(at))
        running.wait_for((self.directory / "paused").exists)
        if at > BATCH:
            running.wait_for(lambda: 0 < self.built_up_to() < at)
        return running

    def go(self) -> None:
        """Let the backfill that pauses go on."""
        (self.directory / "go").touch()

    def log(self) -> Log:
        """Open the log."""
        path = self._environment.get("STREAM_APP_BROKER", ".stream-app/log.db")
        return SqliteLog.open(self.directory / path, create=False)

    def built_up_to(self) -> int:
        """Return where the backfill of v3 stands."""
        with closing(self.log()) as log:
            commit = built(log, "hill", "v3", 0)
        return 0 if commit is None else commit.next_offset

    def live(self) -> Commit:
        """Return where live stands."""
        with closing(self.log()) as log:
            commit = committed(log, "hill", 0)
        assert commit is not None
        return commit

    def shadow(self) -> list[tuple[bytes | None, bytes, Any]]:
        """Return all that v3 has put out, as bytes."""
        found, offset = list[tuple[bytes | None, bytes, Any]](), 0
        with closing(self.log()) as log:
            while rows := log.read(TOPICS.shadow("v3"), 0, offset, records_max=10_000):
                found += [(row.key, row.value, row.headers) for row in rows]
                offset = rows[-1].offset + 1
        return found

    def joins(self) -> None:
        """Let live take v3 in."""
        self.done("run hill.py --until-end")
        assert "v3" in self.live().versions

    def agrees(self) -> None:
        """See that history says the same again."""
        assert "no difference" in self.done("replay hill.py").out
