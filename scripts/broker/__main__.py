"""scripts/kafka: starts and stops a real Kafka on this machine, for a person's terminal."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.broker import pid_file
from scripts.broker.jars import CACHE, are_here, ensure_jars, find_java
from scripts.broker.mishap import BrokerMishap
from scripts.broker.pid_file import Running
from scripts.broker.server import HOST, Server, accepts, answers, end, free_ports, is_free

DEFAULT_PORT = 9092
NOT_RUNNING = 3


class Command:
    """One command on one broker's directory."""

    def __init__(self, place: Path, port: int | None, flags: str) -> None:
        self.place = place
        self.port = port
        self.flags = flags  # what to type behind a command to mean this broker
        self.pid_file = place / "broker.pid"

    def start(self, *, reset: bool) -> int:
        with self._alone():
            running = pid_file.read(self.pid_file)
            if running is not None:
                return self._already(running, reset=reset)
            port = self.port or DEFAULT_PORT
            if not is_free(port):
                raise BrokerMishap(
                    f"port {port} of {HOST} is in use by another program.",
                    f"scripts/kafka start --port {port + 1}, or end that program",
                )
            if reset:
                shutil.rmtree(self.place / "data", ignore_errors=True)
            self._say(self._begin(port), "started")
        return 0

    def stop(self) -> int:
        running = pid_file.read(self.pid_file)
        if running is None:
            print(f"Kafka is not running in {self.place}")
            return 0
        by_itself = running.end()
        self.pid_file.unlink(missing_ok=True)
        how = "" if by_itself else ", which was killed"
        print(
            f"Kafka stopped (process {running.pid}{how})\n"
            f"Its data stays: scripts/kafka start{self.flags}"
        )
        return 0

    def status(self) -> int:
        running = pid_file.read(self.pid_file)
        if running is None:
            print(f"Kafka is not running in {self.place}")
            return NOT_RUNNING
        if not (answers(running.ports.internal) and accepts(running.ports.client)):
            print(
                f"Kafka's process {running.pid} lives and does not answer (see scripts/kafka logs)"
            )
            return NOT_RUNNING
        print(f"{_url(running)} answers (process {running.pid}, {self.place})")
        return 0

    def logs(self, *, follow: bool) -> int:
        log = self.place / "server.log"
        if not log.exists():
            raise BrokerMishap(
                f"there is no log in {self.place}.", f"scripts/kafka start{self.flags}"
            )
        how = ["-n", "200", "-F"] if follow else ["-n", "200"]
        sys.stdout.flush()
        os.execvp("tail", ["tail", *how, str(log)])

    def _begin(self, port: int) -> Running:
        """Start the server and wait for it; leave no process behind if that is interrupted."""
        find_java()
        if not are_here():
            print("Fetching Kafka with Maven (once, about 45 MB)", file=sys.stderr)
            ensure_jars()
        server = Server(self.place, free_ports(port))
        token = uuid.uuid4().hex
        process = server.launch(token)
        running = Running(process.pid, token, server.ports)
        try:
            pid_file.write(self.pid_file, running)
            server.wait_until_ready(process)
        except BaseException:
            end(process, how=signal.SIGKILL)
            self.pid_file.unlink(missing_ok=True)
            raise
        return running

    def _already(self, running: Running, *, reset: bool) -> int:
        if reset or self.port not in {None, running.ports.client}:
            raise BrokerMishap(
                f"Kafka already runs with this data, at {_url(running)}.",
                f"scripts/kafka stop{self.flags}, then the same command again",
            )
        if not answers(running.ports.internal):
            raise BrokerMishap(
                f"Kafka's process {running.pid} lives and does not answer.",
                f"scripts/kafka stop{self.flags}, then scripts/kafka start{self.flags}",
            )
        self._say(running, "runs already")
        return 0

    def _say(self, running: Running, what: str) -> None:
        print(f"Kafka {what}: {_url(running)}")
        program, file = ".venv/bin/stream-app", "deploy/flights.py"
        print(f"Next: {program} topics {file} --create --broker {_url(running)}")
        print(f"      {program} run {file} --broker {_url(running)}")
        print(f"      scripts/kafka stop{self.flags}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep two starts apart, and keep out of directories that hold something else."""
        ours = self.place / "broker.lock"
        if self.place.exists() and not ours.exists() and any(self.place.iterdir()):
            raise BrokerMishap(
                f"{self.place} has files in it and was not made by scripts/kafka.",
                "--data with a directory that is new or empty",
            )
        self.place.mkdir(parents=True, exist_ok=True)
        with ours.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _url(running: Running) -> str:
    return f"kafka://{HOST}:{running.ports.client}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/kafka",
        description="A real Apache Kafka on this machine's loopback, without Docker.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("start", "start it in the background and wait until it answers"),
        ("stop", "stop it; its data stays"),
        ("status", "say whether it runs; exit code 3 if not"),
        ("logs", "show the end of its log"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--port", type=int, help=f"clients' port (default {DEFAULT_PORT})")
        command.add_argument("--data", type=Path, help="its directory (default .kafka/PORT)")
        if name == "start":
            command.add_argument("--reset", action="store_true", help="delete its data first")
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="and what comes")
    return parser


def main(arguments: list[str]) -> int:
    """Carry out one command; return its exit code."""
    said = _parser().parse_args(arguments)
    place = (said.data or CACHE / str(said.port or DEFAULT_PORT)).resolve()
    flags = f" --data {said.data}" if said.data else ""
    if said.port is not None and said.port != DEFAULT_PORT:
        flags = f" --port {said.port}{flags}"
    command = Command(place, said.port, flags)
    try:
        match said.command:
            case "start":
                return command.start(reset=said.reset)
            case "logs":
                return command.logs(follow=said.follow)
            case "stop":
                return command.stop()
            case _:
                return command.status()
    except BrokerMishap as mishap:
        print(f"Error: {mishap.problem}\nTry: {mishap.attempt}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
