"""An intake worker that somebody kills: small batches, and a word when it owns its sources."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stream_app.codec.mapping import EventMapping, RecordPart, SourceMapper
from stream_app.codec.paths import parse_path
from stream_app.core.log import Log
from stream_app.hosts import source_host
from stream_app.hosts.log_url import open_broker
from stream_app.hosts.source_host import SourceHost

PARTITIONS = 2
SOURCE_PARTITIONS = 2


def open_sources(log: Log, topic: str) -> list[SourceHost]:
    """Own every partition of the source, fencing whoever had them."""
    mapping = EventMapping(
        kind="observation",
        id=(parse_path("id"),),
        key=(parse_path("k"),),
        time=RecordPart.APPEND_TIME,
        unit="ms",
    )
    mapper = SourceMapper([mapping], PARTITIONS, 1 << 16)
    return [
        SourceHost(log, "p", PARTITIONS, topic, partition, mapper)
        for partition in range(SOURCE_PARTITIONS)
    ]


def copy_all(hosts: Sequence[SourceHost]) -> None:
    """Copy in turn until nothing is left."""
    while not all(host.idle for host in hosts):
        for host in hosts:
            host.step()


if __name__ == "__main__":
    url, topic, batch = sys.argv[1:]
    source_host.BATCH_RECORDS_MAX = int(batch)
    opened = open_sources(open_broker(url), topic)
    print("owns", flush=True)
    copy_all(opened)
    print("done", flush=True)
    sys.stdin.read()
