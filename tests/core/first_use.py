"""Forks children whose threads all read saved things for the first time at once; counts deaths."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import msgspec

from stream_app.codec.limits import Limits
from stream_app.core import accepted, commit, position, settings
from stream_app.core.store import Image
from stream_app.storage.memory_store import MemoryStore

THREADS = 8
CHILDREN = 40


def saved() -> tuple[bytes, bytes, object, object]:
    """Return what is read, written without the types: this process must stay ignorant of them."""
    environment = {"python": "3", "river": "0", "numpy": "2", "cpu": "x"}
    in_force = {
        "acceptance": {
            "task": {"kind": "binary"},
            "features": None,
            "wait_ms": 1,
            "model_per": "key",
            "limits": msgspec.to_builtins(Limits()),
        },
        "reporting": {"metrics": {}, "evaluate_every": 1, "digest_every": 1, "monitors": []},
    }
    a_commit = {
        "next_offset": 1,
        "chain": "0" * 64,
        "semantics": 1,
        "environment": environment,
        "seat": {"champion": "a", "since": 0},
        "versions": {"a": {"definition": "d", "origin": 0, "published_from": 1}},
        "left": {},
        "settings": in_force,
        "settings_since": 0,
        "watermark_ms": 0,
        "waiting": 0,
        "early_waiting": 0,
        "counters": {"records": 1},
        "learned": {},
        "failed": {},
    }
    a_position = {
        "log_id": "l",
        "pipeline": "p",
        "partition": 0,
        "semantics": 1,
        "environment": environment,
        "next_offset": 1,
        "chain": (b"", b"", 0),
        "versions": {},
        "settings": in_force,
        "settings_since": 0,
        "controls": [],
    }
    return msgspec.json.encode(a_commit), msgspec.msgpack.encode(a_position), in_force, {}


def read_everything(things: tuple[bytes, bytes, object, object]) -> None:
    store = MemoryStore()
    store.save(Image(1, {position.POSITION: {b"position": things[1]}}))
    commit.decode_commit(things[0], "here")
    position.read_position(store)
    settings.read_settings(things[2])
    msgspec.convert(things[3], accepted.Counters)


def at_once(read: Callable[[], None]) -> None:
    barrier = threading.Barrier(THREADS)

    def go() -> None:
        barrier.wait()
        read()

    threads = [threading.Thread(target=go) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    sys.setswitchinterval(1e-6)
    things = saved()
    killed = 0
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            at_once(lambda: read_everything(things))
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    print(killed)


if __name__ == "__main__":
    main()
