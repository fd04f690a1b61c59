"""SIGTERM as an exception, and a block of code that no signal may cut in two."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_BOTH = {signal.SIGINT, signal.SIGTERM}


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt no `except Exception` holds it up."""


def install() -> None:
    """Raise `Terminated` at SIGTERM from now on; Python does the like for SIGINT itself."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait until the block ends, so that what it did can still be counted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BOTH)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
