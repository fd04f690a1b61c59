"""One URL names a log: `sqlite:///path`, or just a path."""

from __future__ import annotations

from pathlib import Path

from stream_app.errors import LogUnavailable, UsageError
from stream_app.storage.sqlite_log import SqliteLog

DEFAULT_BROKER = "sqlite:///.stream-app/log.db"
DEFAULT_STATE = ".stream-app/state"


def log_path(url: str) -> Path:
    """Return the file that a broker URL names; raises `UsageError` for other kinds of URLs."""
    if url.startswith("sqlite://"):
        path = url.removeprefix("sqlite://").removeprefix("/")
        if path:
            return Path(path)
    elif "://" not in url and url:
        return Path(url)
    kind = url.partition("://")[0] if "://" in url else "nothing"
    raise UsageError(
        f"broker {url!r}: {kind} is no log that this release can open",
        attempt=f"{DEFAULT_BROKER}, sqlite:////absolute/path or a path",
    )


def open_broker(url: str, *, create: bool = False, read_only: bool = False) -> SqliteLog:
    """Open the log that `url` names; `create` makes a new one where there is none."""
    path = log_path(url)
    if create:
        _make_directory(path.parent)
    return SqliteLog.open(path, create=create, read_only=read_only)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LogUnavailable(
            f"The directory {directory} of the event log cannot be made: "
            f"{error.strerror or error}.",
            attempt="name a place that this user can write to: --broker sqlite:////path/log.db",
        ) from error
