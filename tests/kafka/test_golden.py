"""The recorded records of the golden logs give on Kafka what the pure core makes of them.

Not the recorded bytes: a broker stamps its own append times, and controls that were signed for
another log are refused. So the same Kafka records, holes and all, are folded in memory too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.core.topics import Topics
from stream_app.kafka.connection import Connection
from tests.golden.cases import CASES
from tests.golden.recording import paths, read_entries
from tests.kafka.machine import KafkaMachine
from tests.kafka.transactions import abort, commit, transaction

CHUNK = 37


@pytest.mark.parametrize("name", CASES)
def test_recorded_records_give_on_kafka_what_they_give_in_memory(
    name: str, connection: Connection, tmp_path: Path
) -> None:
    pipeline = CASES[name]().pipeline
    topics = Topics(pipeline.name)
    [bootstrap] = connection.servers
    machine = KafkaMachine(tmp_path, bootstrap, connection.prefix)
    machine.make_topics(pipeline)
    machine.begin(pipeline, [])
    entries = read_entries(paths(name)[0].read_text(encoding="utf-8"))
    rows = [(topics.events, entry.key, entry.value) for entry in entries]
    for begin in range(0, len(rows), CHUNK):
        transaction(connection, rows[begin : begin + CHUNK], commit)
        transaction(connection, rows[begin : begin + 2], abort)
    machine.run(pipeline, until=len(rows) // 3)
    machine.run(pipeline, until=len(rows) // 2, save=False)
    machine.run(pipeline)
    assert machine.difference(pipeline) is None
    commit_record = machine.commit(pipeline)
    assert commit_record.counters["records"] == len(rows)
    assert commit_record.next_offset > len(rows)
