"""One Kafka server (KRaft: broker and controller in one process) that serves loopback only."""

from __future__ import annotations

import base64
import random
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.broker.jars import ensure_jars, find_java
from scripts.broker.mishap import BrokerMishap

HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_LOG4J = Path(__file__).with_name("log4j2.properties")


@dataclass(frozen=True)
class Ports:
    """Where a server listens. Clients have `client`; the others are the server's own."""

    client: int
    internal: int
    controller: int


@dataclass(frozen=True)
class Server:
    """A server's directory, ports and settings; no running parts.

    `properties` are added to the settings, or replace them. They may change how clients connect
    (the listener CLIENT) without touching how the server reaches itself (INTERNAL, in the clear
    and without names: to ACLs it is User:ANONYMOUS).
    """

    place: Path
    ports: Ports
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The topics, and everything else that lasts."""
        return self.place / "data"

    @property
    def log(self) -> Path:
        """What the server logs."""
        return self.place / "server.log"

    def launch(self, token: str) -> subprocess.Popen[bytes]:
        """Start the server in a process group of its own; `token` is one of its arguments."""
        java, jars = find_java(), ensure_jars()
        self.place.mkdir(parents=True, exist_ok=True)
        settings = self._write_settings()
        if not (self.data / "meta.properties").exists():
            self._format(java, jars, settings)
        with (self.place / "server.out").open("wb") as out:
            return subprocess.Popen(
                [
                    *(java, "-Xms256m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"),
                    *("-XX:-UsePerfData", f"-Dlog4j2.configurationFile={_LOG4J.as_uri()}"),
                    *(f"-Dstream.app.log={self.log}", f"-Dstream.app.token={token}"),
                    *("-cp", f"{jars}/*", "kafka.Kafka", str(settings)),
                ],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when clients are served. Raises BrokerMishap if the server ends or takes long."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while process.poll() is None:
            if answers(self.ports.internal) and accepts(self.ports.client):
                return
            if time.monotonic() > deadline:
                raise BrokerMishap(
                    f"Kafka did not answer within {READY_TIMEOUT_S:.0f} s.{self._last_lines()}",
                    f"read {self.log}; is the machine short of memory or processors?",
                )
            time.sleep(0.05)
        raise BrokerMishap(
            f"Kafka ended while it started (exit code {process.returncode}).{self._last_lines()}",
            f"read {self.log} and {self.place / 'server.out'}",
        )

    def _write_settings(self) -> Path:
        # The controller's port is in the voters and not in the data, so it may differ each time.
        client, internal, controller = (
            f"{name}://{HOST}:{port}"
            for name, port in (
                ("CLIENT", self.ports.client),
                ("INTERNAL", self.ports.internal),
                ("CONTROLLER", self.ports.controller),
            )
        )
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{self.ports.controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL",
            "listeners": f"{client},{internal},{controller}",
            "advertised.listeners": f"{client},{internal}",
            "listener.security.protocol.map": (
                "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "log.dirs": str(self.data),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After a kill -9 the broker is refused until its last session has ended: 4 s until it
            # answers in place of 12. And a start asks for its registration again sooner.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "250",
            **self.properties,
        }
        place = self.place / "server.properties"
        place.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in settings.items()))
        place.chmod(0o600)  # settings for TLS and SASL have passwords
        return place

    def _format(self, java: str, jars: Path, settings: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        ran = subprocess.run(
            [
                *(java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"),
                *("-cp", f"{jars}/*", "kafka.tools.StorageTool", "format"),
                *(f"--cluster-id={cluster}", f"--config={settings}"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise BrokerMishap(
                f"Kafka could not format {self.data}:\n{(ran.stdout + ran.stderr).strip()}\n",
                "repair what it names (often a setting, or the disk) and start it again",
            )

    def _last_lines(self) -> str:
        lines: list[str] = []
        for place in (self.place / "server.out", self.log):
            if place.exists():
                lines += place.read_text(errors="replace").splitlines()[-8:]
        return "".join(f"\n  {line}" for line in lines) + "\n"


def free_ports(client: int | None = None) -> Ports:
    """Choose ports that nobody listens on, below those that systems give to outgoing connections.

    A client that keeps trying to connect to a port of that range while the broker is down may be
    given the port itself, then talks to itself, and the broker cannot have it back.
    """
    chosen = [] if client is None else [client]
    while len(chosen) < 3:
        port = random.randrange(16_384, 32_768)
        if port not in chosen and is_free(port):
            chosen.append(port)
    return Ports(*chosen)


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As Java does: closed connections that linger do not count, only those who listen.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Say whether somebody listens on this loopback port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(port: int) -> bool:
    """Say whether a Kafka server answers a request (ApiVersions, version 0) on this port."""
    request = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as reply:
                head = reply.read(10)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">iih", head)[1:] == (7, 0)


def end(process: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGTERM) -> None:
    """End a server that this process started, and wait for it; one that does not end is killed."""
    if process.poll() is None:
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # one that was frozen would not hear it
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _escaped(value: str) -> str:
    """Write a value as java.util.Properties reads it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
