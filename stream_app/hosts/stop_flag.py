"""What SIGTERM and Ctrl-C set: a wish to stop, looked at where stopping is in good order."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopFlag:
    """Set by SIGTERM and SIGINT, read between two steps: a signal never tears a model."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal: int | None = None
        self.signals = 0

    def install(self) -> None:
        """Handle both signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.signals += 1
        self._event.set()

    def set(self) -> None:
        """Stop as if a signal had come."""
        self._event.set()

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._event.is_set()
