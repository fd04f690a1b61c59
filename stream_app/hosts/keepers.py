"""Who looks after the log that a URL names."""

from __future__ import annotations

from stream_app.core.upkeep import Keeper
from stream_app.hosts.log_url import is_kafka, log_path


def keeper_of(url: str) -> Keeper:
    """Return the keeper of the log that `url` names."""
    if is_kafka(url):
        from stream_app.kafka.connection import connection
        from stream_app.kafka.keeper import KafkaKeeper

        return KafkaKeeper(connection(url))
    from stream_app.storage.file_keeper import FileKeeper

    return FileKeeper(log_path(url))
