"""Several processes that write a ledger at once: as workers do at a pipeline's first start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from stream_app.kafka.connection import connection
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import TopicSpec, create_topics
from tests.kafka.broker import Broker

WRITERS = 4
LEDGER = "race.ledger"


@pytest.fixture
def logs(broker: Broker) -> Iterator[list[KafkaLog]]:
    to = connection(f"kafka://{broker.bootstrap}")
    create_topics(to, [TopicSpec(LEDGER, 1, {})], 1)
    with ExitStack() as stack:
        logs = [KafkaLog(to) for _ in range(WRITERS)]
        for log in logs:
            stack.callback(log.close)
        yield logs


def test_of_writers_at_once_one_wins_and_the_others_find_what_it_wrote(
    logs: list[KafkaLog],
) -> None:
    # A writer that was fenced said "somebody was first" before anybody had written: two of three
    # workers that started at once then ended, since they found no manifest.
    def write(number: int) -> tuple[bool, bytes | None]:
        won = logs[number].ledger_put(LEDGER, 0, "manifest", b"%d" % number, expected=None)
        return won, logs[number].ledger_get(LEDGER, 0, "manifest")

    with ThreadPoolExecutor(WRITERS) as pool:
        written = list(pool.map(write, range(WRITERS)))
    [winner] = [number for number, (won, _) in enumerate(written) if won]
    assert [found for _, found in written] == [b"%d" % winner] * WRITERS
