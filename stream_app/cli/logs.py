"""Logs on standard error: facts with an event name and fields, as JSON when nobody watches."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence

from stream_app.cli.stderr import done
from stream_app.cli.wrapping import terminal_width, wrapped
from stream_app.hosts.log_repeats import SpareRepeats

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
_INDENT = 17  # where an event's name begins
_log = logging.getLogger("stream_app")


def fact(event: str, **fields: object) -> None:
    """Log that something is so: a stable event name, and what belongs to it."""
    _log.info(event, extra={"fields": fields})


def set_level(level: str) -> None:
    """Log this level and graver ones."""
    _log.setLevel(level.upper())


def set_format(form: str | None) -> None:
    """Send the logs of this process to standard error; JSON lines unless that is a terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    handler = _ToStandardError()
    text = form == "text" or (form is None and terminal)
    handler.setFormatter(_Text() if text else _Json())
    handler.addFilter(SpareRepeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def debugging() -> bool:
    """Tell whether tracebacks are wanted."""
    return _log.isEnabledFor(logging.DEBUG)


class _ToStandardError(logging.Handler):
    """Looks standard error up each time: a live display puts itself in its place meanwhile."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            done()
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def _library(record: logging.LogRecord) -> str:
    return record.name.partition(".")[0]


def _is_ours(record: logging.LogRecord) -> bool:
    return _library(record) == _log.name


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return dict(getattr(record, "fields", {}))


class _Formatter(logging.Formatter):
    """Names the library whose words they are. What it calls an error it may well get over.

    What it does not get over ends something of ours, and is told by that.
    """

    def _level(self, record: logging.LogRecord) -> str:
        level = record.levelno if _is_ours(record) else min(record.levelno, logging.WARNING)
        return logging.getLevelName(level).lower()

    def _trace(self, record: logging.LogRecord) -> str | None:
        """Return an error's traceback; one of another process is text already."""
        return self.formatException(record.exc_info) if record.exc_info else record.exc_text


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "at": f"{at}.{int(record.msecs):03d}Z",
            "level": self._level(record),
            "event": record.getMessage(),
            **({} if _is_ours(record) else {"logger": record.name}),
            **_fields(record),
        }
        if trace := self._trace(record):
            line["traceback"] = trace
        return json.dumps(line, default=str)


class _Text(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        event = record.getMessage()
        event = event.replace("_", " ") if _is_ours(record) else f"{_library(record)}: {event}"
        head = f"{at} {self._level(record):<7} {event}"
        fields = [f"{name}={value}" for name, value in _fields(record).items()]
        line = "\n".join(_broken(head, fields, terminal_width(sys.__stderr__)))
        if trace := self._trace(record):
            line += "\n" + trace
        return line


def _broken(head: str, fields: Sequence[str], width: int | None) -> Iterator[str]:
    """Yield lines of whole fields no longer than `width`; a longer field's words are wrapped."""
    line = head
    for field in fields:
        if width is not None and len(line) + 2 + len(field) > width and line.strip():
            yield line
            line = " " * (_INDENT - 2)
        first, *rest = wrapped(field, width, first=len(line) + 2, indent=" " * _INDENT)
        yield from [f"{line}  {first}", *rest][:-1]
        line = rest[-1] if rest else f"{line}  {first}"
    yield line
