"""Says once a minute what a library would say at every attempt."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict

EVERY_S = 60.0
MESSAGES_MAX = 256

_Message = tuple[str, int, str, str]


class SpareRepeats(logging.Filter):
    """Lets a message of others through once a minute, with how often it was left out since then.

    Equal are messages of one logger, level, text and exception; other clients' tries, other
    partitions and other errors stay lines of their own. What this project logs is never left out.
    Remembers the `MESSAGES_MAX` messages that came last; a forgotten one is new. Any thread may
    use it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[_Message, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log it; the time is the record's own."""
        # Another process's has been through a filter there.
        if record.name.partition(".")[0] == "stream_app" or hasattr(record, "relayed"):
            return True
        message = _message(record)
        if message is None:
            return True
        with self._lock:
            said_at, left_out = self._known.pop(message, (-math.inf, 0))
            # A clock that was set back begins the minute anew.
            if 0 <= record.created - said_at < EVERY_S:
                self._known[message] = (said_at, left_out + 1)
                return False
            self._known[message] = (record.created, 0)
            if len(self._known) > MESSAGES_MAX:
                self._known.popitem(last=False)
        if left_out:
            record.fields = {"repeated": left_out}
        return True


def _message(record: logging.LogRecord) -> _Message | None:
    """Return what tells a message from others; None for one whose text cannot be made.

    Who logs would get the error: handlers take care of what their formatter raises only.
    """
    try:
        cause = repr(record.exc_info[1]) if record.exc_info else ""
        return record.name, record.levelno, record.getMessage(), cause
    except Exception:
        return None
