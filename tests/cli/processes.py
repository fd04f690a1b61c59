"""Which processes a running command has started."""

from __future__ import annotations

from pathlib import Path


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a `run`: forks of a process that has imported for them."""
    return [worker for child in _children(pid) if _forks(child) for worker in _children(child)]


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _forks(pid: int) -> bool:
    return b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
