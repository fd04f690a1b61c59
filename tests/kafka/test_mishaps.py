"""What happens to a machine whose log is on Kafka, and what that costs."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.errors import LogUntrusted, StreamAppError
from stream_app.hosts.embedded import Word, open_hosts
from stream_app.hosts.member import work_as_member
from stream_app.hosts.registration import register
from stream_app.kafka.connection import Connection
from stream_app.kafka.group import group_of
from tests.kafka.broker import Broker
from tests.kafka.machine import KafkaMachine
from tests.recovery.machine import EveryNth, Machine
from tests.recovery.pipelines import small
from tests.recovery.storms import records

EVENTS = "small.events"
ROWS = records(300)
HALF = len(ROWS) // 2


@pytest.fixture
def machine(connection: Connection, tmp_path: Path) -> KafkaMachine:
    """A machine on Kafka with a small pipeline's records, nothing of them processed."""
    made = on_kafka(tmp_path / "machine", connection)
    made.begin(small(), ROWS)
    return made


def on_kafka(root: Path, connection: Connection) -> KafkaMachine:
    [bootstrap] = connection.servers
    made = KafkaMachine(root, bootstrap, connection.prefix)
    made.make_topics(small())
    return made


def with_admin(machine: KafkaMachine, call: Callable[[Any], Awaitable[Any]]) -> None:
    async def ask() -> None:
        admin = AIOKafkaAdminClient(**machine.connection.client_options())
        await admin.start()
        try:
            await call(admin)
        finally:
            await admin.close()

    asyncio.run(ask())


def make_events_anew(machine: KafkaMachine, count: int) -> None:
    """Delete the topic of events, make it again and append some others."""
    name = machine.prefix + EVENTS
    with_admin(machine, lambda admin: admin.delete_topics([name]))
    with_admin(machine, lambda admin: _gone(admin, name))
    machine.make_topics(small())
    machine.append(small(), records(count, seed=77)[:count])


async def _gone(admin: AIOKafkaAdminClient, name: str) -> None:
    while name in await admin.list_topics():
        await asyncio.sleep(0.05)


def test_a_lost_state_directory_comes_back_from_the_checkpoints_and_the_log(
    machine: KafkaMachine,
) -> None:
    machine.run(small(), until=HALF)
    shutil.rmtree(machine.state_path(small()))
    with closing(machine.log()) as log, closing(machine.open(log, small())) as host:
        assert host.recovery.rebuild is None
        assert host.next_offset == HALF
    machine.run(small())
    assert machine.difference(small()) is None


def test_state_of_another_log_is_not_begun_beside(connection: Connection, tmp_path: Path) -> None:
    elsewhere = Machine(tmp_path)
    elsewhere.begin(small(), ROWS[:50])
    elsewhere.run(small())
    machine = on_kafka(tmp_path, connection)
    manifest = machine.begin(small(), ROWS[:50])
    with (
        closing(machine.log()) as log,
        pytest.raises(LogUntrusted, match="the log was removed, replaced or moved"),
    ):
        open_hosts(log, small(), manifest, machine.state, [0])


def test_records_that_were_made_anew_under_a_processor_stop_it(machine: KafkaMachine) -> None:
    with closing(machine.log()) as log, closing(machine.open(log, small())) as host:
        while host.step(50):
            pass
        make_events_anew(machine, 20)
        with pytest.raises(LogUntrusted, match="ends at 20, but was read up to"):
            _step_for(host.step, 30.0)
    with (
        closing(machine.log()) as log,
        pytest.raises(LogUntrusted, match="was deleted and made anew"),
    ):
        machine.open(log, small())


def _step_for(step: Callable[[], int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert step() == 0
        time.sleep(0.1)


def test_a_broker_that_is_killed_and_comes_back_costs_time_only(
    machine: KafkaMachine, broker: Broker
) -> None:
    """A process rides it out, or ends with an error that says to start it again."""

    def outage() -> None:
        broker.kill()
        broker.restart()

    trouble = threading.Thread(target=outage)
    ended: list[StreamAppError] = []
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        try:
            _live(machine, trouble)
            break
        except StreamAppError as error:
            ended.append(error)
            trouble.join()
    trouble.join()
    assert [error.exit_code for error in ended] == [4] * len(ended), ended
    assert machine.difference(small()) is None


def _live(machine: KafkaMachine, trouble: threading.Thread) -> None:
    """Process to the end as `run` does; trouble begins after some batches of the first life."""
    with closing(machine.log()) as log:
        publisher = ThreadPoolExecutor(1)
        host = machine.open(log, small(), pace=EveryNth(3), publisher=publisher)
        with closing(host):
            while host.step(10):
                if trouble.ident is None and host.next_offset > HALF // 2:
                    trouble.start()
            host.finish()


def test_offsets_of_the_group_whatever_they_say_have_no_effect(machine: KafkaMachine) -> None:
    for told in (HALF + 20, 3):
        asyncio.run(_tell(machine, told))
        with closing(machine.log()) as log:
            manifest = register(log, small(), machine.state.public_keys)
            end = HALF if told > HALF else log.bounds(EVENTS, 0)[1]
            said: list[Word] = []
            work_as_member(
                log, small(), manifest, machine.state, None, {0: end}, said.append, lambda: False
            )
        assert machine.commit(small()).next_offset == end
    assert machine.difference(small()) is None


async def _tell(machine: KafkaMachine, offset: int) -> None:
    place = TopicPartition(machine.prefix + EVENTS, 0)
    async with AIOKafkaConsumer(
        **machine.connection.client_options(),
        group_id=group_of(machine.connection, small().name),
        enable_auto_commit=False,
    ) as consumer:
        consumer.assign([place])
        await consumer.commit({place: offset})
