"""A worker's name: the same after a restart, and never that of another worker that runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from stream_app.errors import LogBusy, UsageError
from stream_app.storage.partition_lock import PartitionLock

WORKERS_MAX = 1000


@contextmanager
def worker_name(root: Path, kind: str = "worker") -> Iterator[str]:
    """Hold the first name of this machine and state directory that no living process has.

    Each kind counts for itself: members of another group take no names away.
    """
    place = sha256(str(root.resolve()).encode()).hexdigest()[:6]
    for number in range(WORKERS_MAX):
        try:
            lock = PartitionLock.take(root / "workers", kind, number)
        except LogBusy:
            continue
        try:
            which = "" if kind == "worker" else f"{kind}-"
            yield f"{socket.gethostname()}-{place}-{which}{number}"
        finally:
            lock.release()
        return
    raise UsageError(
        f"{WORKERS_MAX} workers run with state in {root} already", attempt="fewer of them"
    )
