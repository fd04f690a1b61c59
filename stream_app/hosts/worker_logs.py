"""Log records of worker processes, said to the process that watches them, which writes them.

So one process writes to the terminal, and a live display knows of every line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from stream_app.hosts.log_repeats import SpareRepeats

_OURS = "stream_app"
_PLAIN = logging.Formatter()


class Logged(msgspec.Struct, frozen=True):
    """A log record that can travel: its text is made, and the traceback it has is text too."""

    logger: str
    level: int
    created: float
    text: str
    fields: dict[str, object]
    trace: str | None


class Levels(msgspec.Struct, frozen=True):
    """From which levels on this project's loggers and those of others log."""

    ours: int
    others: int


def levels_here() -> Levels:
    """Return the levels of this process."""
    return Levels(logging.getLogger(_OURS).level, logging.getLogger().level)


def relay_logs(say: Callable[[Any], None], levels: Levels) -> None:
    """Say every log record of this process from now on, from these levels on."""
    root = logging.getLogger()
    relay = _Relay(say)
    relay.addFilter(SpareRepeats())  # here, or a client that tries a hundred times a second says so
    root.handlers[:] = [relay]
    root.setLevel(levels.others)
    logging.getLogger(_OURS).setLevel(levels.ours)


def log_again(logged: Logged) -> None:
    """Log here what another process has logged, as of the time when it did."""
    made = {
        "name": logged.logger,
        "levelno": logged.level,
        "levelname": logging.getLevelName(logged.level),
        "created": logged.created,
        "msecs": logged.created % 1 * 1000,
        "msg": logged.text,
        "fields": logged.fields,
        "exc_text": logged.trace,
        "relayed": True,
    }
    logging.getLogger(logged.logger).handle(logging.makeLogRecord(made))


class _Relay(logging.Handler):
    def __init__(self, say: Callable[[Any], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._say(_logged(record))
        except OSError:
            pass  # nobody is there any more to write it
        except Exception:
            self.handleError(record)


def _logged(record: logging.LogRecord) -> Logged:
    fields = {name: _plain(value) for name, value in getattr(record, "fields", {}).items()}
    trace = _PLAIN.formatException(record.exc_info) if record.exc_info else None
    return Logged(record.name, record.levelno, record.created, record.getMessage(), fields, trace)


def _plain(value: object) -> object:
    """Return what can travel to the other process: numbers as they are, the rest as text."""
    return value if isinstance(value, int | float | str | bool | None) else str(value)
