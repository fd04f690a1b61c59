"""Several processes that write a ledger at once: as workers do at a pipeline's first start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from stream_app.core.upkeep import TopicSpec
from stream_app.kafka.claim import start_fencing, transactional_producer
from stream_app.kafka.connection import connection
from stream_app.kafka.event_loop import EventLoopThread
from stream_app.kafka.log import KafkaLog
from stream_app.kafka.topics import create_topics
from tests.kafka.broker import Broker

WRITERS = 4
RIVALS = 30
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


def test_a_write_that_was_fenced_is_tried_again_since_the_rival_may_die_without_writing(
    logs: list[KafkaLog],
) -> None:
    loop = EventLoopThread("rivals")

    async def begin_and_die() -> None:
        rival = transactional_producer(logs[0].connection, f"{LEDGER}-0-contended")
        await start_fencing(logs[0].connection, rival, [])
        await rival.stop()

    def rivals() -> None:
        for _ in range(RIVALS):
            loop.run(begin_and_die())

    with ThreadPoolExecutor(1) as pool:
        dying = pool.submit(rivals)
        written = logs[0].ledger_put(LEDGER, 0, "contended", b"mine", expected=None)
        dying.result()
    loop.close()
    assert written
    assert logs[0].ledger_get(LEDGER, 0, "contended") == b"mine"
