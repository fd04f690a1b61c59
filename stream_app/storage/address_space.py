"""Whether this process may take the address space that RocksDB needs, where that has a limit."""

from __future__ import annotations

import resource
from functools import cache
from pathlib import Path

from stream_app.errors import StateUnavailable

ROOM_BYTES_MIN = 768 << 20
"""Its threads take most: a stack of 8 MB each, and up to 128 MB of the C library's for its heap."""


def require_room() -> None:
    """Raise `StateUnavailable` if a limit leaves RocksDB too little to begin with.

    What RocksDB cannot start a thread or get memory for ends the whole process, with no error
    that anybody could catch. Without a limit (`ulimit -v`), or where the kernel does not say what
    is used, there is nothing to tell.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return
    if limit - used < ROOM_BYTES_MIN:
        raise StateUnavailable(
            f"No state can be opened: this process may take {limit >> 20} MB of address space and "
            f"has taken {used >> 20} MB, which leaves RocksDB too little.",
            attempt=f"let it take {ROOM_BYTES_MIN >> 20} MB more (ulimit -v), and bound memory by "
            "the container or the service instead",
        )


@cache  # no error is cached, and what the first store has started serves the later ones
def require_room_once() -> None:
    """Raise as `require_room` does, until there was room once."""
    require_room()
