"""Keeps a program whose imports are done, and forks it for each command that a test runs.

Importing River takes seconds on a small machine, and these tests run dozens of commands. A fork is
a process like any other: own signals, own exit code, own files.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

from stream_app.cli import main


def serve() -> None:
    """Answer requests, one JSON line each: start a command, or wait for one to end."""
    for module in ("csv_lines", "registration", "replay", "status", "workers"):
        import_module(f"stream_app.hosts.{module}")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _be(request)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _be(request: dict[str, Any]) -> NoReturn:
    """Be `stream-app` with these arguments, files and environment."""
    code = 99
    try:
        for number, place in enumerate(request["files"]):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(place, flags, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(request["directory"])
        os.environ.update(request["environment"])
        main(request["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
