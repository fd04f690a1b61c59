"""Lines of a file, a pipe or a terminal, as they come."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterator

from stream_app.errors import SurroundingsError, UsageError

CHUNK_BYTES = 256 * 1024
LINE_BYTES_MAX = 16 * 1024 * 1024


def read_lines(
    descriptor: int, name: str, *, idle: Callable[[], None], moved: Callable[[int], None]
) -> Iterator[bytes]:
    """Yield lines with their ends; calls `idle` before it waits, and `moved` with bytes read.

    What is idle is a chance to hand on what came so far: the next line may take hours. Raises
    `UsageError` for a line that has no end within 16 MiB.
    """
    waits = not stat.S_ISREG(os.fstat(descriptor).st_mode)
    rest = b""
    while True:
        if waits and not select.select([descriptor], [], [], 0)[0]:
            idle()
        chunk = _read(descriptor, name)
        if not chunk:
            break
        moved(len(chunk))
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            raise UsageError(
                f"{name} has a line of more than {LINE_BYTES_MAX} bytes",
                attempt="a file of JSON lines or CSV",
            )
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def _read(descriptor: int, name: str) -> bytes:
    try:
        return os.read(descriptor, CHUNK_BYTES)
    except OSError as error:
        raise SurroundingsError(
            f"{name} cannot be read: {error.strerror or error}.", attempt="look at that file"
        ) from error
