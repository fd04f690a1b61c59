"""A real Kafka that tests start, freeze, kill and start again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.broker.server import HOST, Server, end, free_ports


class Broker:
    """One Kafka on free loopback ports, in a temporary directory that goes with `stop`.

    `properties` are server settings for TLS, SASL or ACLs. They change the listener CLIENT, which
    is where `bootstrap` leads; `internal` stays in the clear and is User:ANONYMOUS to ACLs.
    The server ends with this process, however this process ends.
    """

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="stream-app-kafka-"))
        self.server = Server(self.place, free_ports(), properties or {})
        self.bootstrap = f"{HOST}:{self.server.ports.client}"
        self.internal = f"{HOST}:{self.server.ports.internal}"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The server's process, which leads a process group of its own."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def restart(self) -> None:
        """Start again on the same ports and data; ends it first if it still runs."""
        self._end(signal.SIGTERM)
        self._launch()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. `restart` brings it back."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._running().send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and delete its data."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self.place, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the broker is not running"
        return self._process

    def _launch(self) -> None:
        self._process = self.server.launch(uuid.uuid4().hex)
        self._guard = _guard(self._process, self.place)
        self.server.wait_until_ready(self._process)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            end(self._process, how=how)
            self._process = None
        if self._guard is not None:
            # A line, not the end of the pipe: the guard leaves without killing anybody.
            self._guard.communicate(b"done\n")
            self._guard = None


def _guard(process: subprocess.Popen[bytes], place: Path) -> subprocess.Popen[bytes]:
    """Kill the server's group, and delete its data, when this process is gone.

    The guard's input ends then. A finalizer would not do: nothing runs in a pytest that is killed.
    """
    end_all = 'kill -s KILL -- "-$0"; sleep 1; rm -rf -- "$1"'
    return subprocess.Popen(
        ["/bin/sh", "-c", f"read -r line || {{ {end_all}; }}", str(process.pid), str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
