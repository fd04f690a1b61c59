"""One URL names a log: `sqlite:///path`, just a path, or `kafka://host:port`."""

from __future__ import annotations

import re
from pathlib import Path

from stream_app.core.log import Log
from stream_app.errors import LogUnavailable, UsageError
from stream_app.storage.sqlite_log import SqliteLog

DEFAULT_BROKER = "sqlite:///.stream-app/log.db"
# What everybody writes who comes from Kafka: hosts with ports, and no scheme.
_BROKER = re.compile(r"kafka:/?[^/\\\s]+|[^/\\\s]+:\d+")
DEFAULT_STATE = ".stream-app/state"


def log_path(url: str) -> Path:
    """Return the file that a broker URL names; raises `UsageError` for other kinds of URLs."""
    if _BROKER.fullmatch(url) and not Path(url).exists():
        raise UsageError(
            f"broker {url!r} looks like host and port of a Kafka broker",
            attempt=f"--broker kafka://{re.sub('^kafka:/?', '', url)}, or ./{url} for such a file",
        )
    if url.startswith("sqlite://"):
        path = url.removeprefix("sqlite://").removeprefix("/")
        if path:
            return Path(path)
    elif "://" not in url and url:
        return Path(url)
    kind = url.partition("://")[0] if "://" in url else "nothing"
    raise UsageError(
        f"broker {url!r}: {kind} is no log that this release can open",
        attempt=f"{DEFAULT_BROKER}, sqlite:////absolute/path, a path, or kafka://host:9092",
    )


def without_credentials(url: str) -> str:
    """Return a broker URL; raises `UsageError`, without showing it, for one with a login in it."""
    kind, separator, rest = url.partition("://")
    if separator and kind != "sqlite" and "@" in rest:
        raise UsageError(
            "a broker's URL has no place for credentials: it is shown in logs and errors",
            attempt="the URL without them, and STREAM_APP_KAFKA_USERNAME and "
            "STREAM_APP_KAFKA_PASSWORD_FILE",
        )
    return url


def is_kafka(url: str) -> bool:
    """Tell whether a URL names a Kafka cluster."""
    return url.startswith("kafka://")


def log_exists(url: str) -> bool:
    """Tell whether there is a log to open; brokers are taken for being there."""
    return is_kafka(url) or log_path(url).exists()


def open_broker(url: str, *, create: bool = False, read_only: bool = False) -> Log:
    """Open the log that `url` names; `create` makes a new file where there is none."""
    without_credentials(url)
    if is_kafka(url):
        return _open_kafka(url)
    path = log_path(url)
    if create:
        _make_directory(path.parent)
    return SqliteLog.open(path, create=create, read_only=read_only)


def _open_kafka(url: str) -> Log:
    # Imported only here: whoever stays on this machine needs no client of Kafka's.
    try:
        from stream_app.kafka.connection import connection
        from stream_app.kafka.log import KafkaLog
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{url}: {error.name} is not installed, which Kafka needs",
            attempt="pip install 'stream-app[kafka]'",
        ) from None
    return KafkaLog(connection(url))


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LogUnavailable(
            f"The directory {directory} of the event log cannot be made: "
            f"{error.strerror or error}.",
            attempt="name a place that this user can write to: --broker sqlite:////path/log.db",
        ) from error
