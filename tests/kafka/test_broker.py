"""The broker that the tests of Kafka stand on does what they take for granted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError

from scripts.broker.server import accepts, answers
from tests.kafka.broker import Broker

ROOT = Path(__file__).resolve().parents[2]


async def create(broker: Broker, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def send(broker: Broker, topic: str, value: bytes, *, commit: bool) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=f"{topic}-writer", retry_backoff_ms=5
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, value)
        if commit:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()
    finally:
        await producer.stop()


async def read(broker: Broker, topic: str, isolation: str, count: int) -> list[bytes]:
    """Read `count` records, and one more if it comes within half a second."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap,
        isolation_level=isolation,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        values = [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
        late = await consumer.getmany(timeout_ms=500)
        return values + [record.value for records in late.values() for record in records]
    finally:
        await consumer.stop()


def test_committed_readers_see_what_was_committed_also_after_kill_and_restart(
    broker: Broker,
) -> None:
    async def before() -> None:
        await create(broker, "kept")
        await send(broker, "kept", b"committed", commit=True)
        await send(broker, "kept", b"aborted", commit=False)
        assert await read(broker, "kept", "read_committed", 1) == [b"committed"]
        assert await read(broker, "kept", "read_uncommitted", 2) == [b"committed", b"aborted"]

    async def after() -> None:
        assert await read(broker, "kept", "read_committed", 1) == [b"committed"]
        await send(broker, "kept", b"goes on", commit=True)
        assert await read(broker, "kept", "read_committed", 2) == [b"committed", b"goes on"]

    asyncio.run(before())
    bootstrap = broker.bootstrap
    broker.kill()
    assert not accepts(broker.server.ports.client)
    broker.restart()
    assert broker.bootstrap == bootstrap
    asyncio.run(after())


def test_a_paused_broker_keeps_connections_and_does_not_answer_until_it_goes_on(
    broker: Broker,
) -> None:
    port = broker.server.ports.client
    broker.pause()
    try:
        assert accepts(port)
        assert not answers(port)
    finally:
        broker.resume()
    assert answers(port)


def test_settings_of_a_test_reach_the_server_and_leave_its_inner_listener_alone(
    kafka_is_here: None,
) -> None:
    # The server reaches itself as before while clients must log in.
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    properties = {
        "listener.security.protocol.map": (
            "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": (f'{module} required user_ann="right";'),
    }

    async def log_in(broker: Broker, password: str) -> None:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=broker.bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username="ann",
            sasl_plain_password=password,
        )
        try:
            await admin.start()
        finally:
            await admin.close()

    with Broker(properties) as broker:
        asyncio.run(log_in(broker, "right"))
        # aiokafka logs the broker's refusal and raises that it could not connect.
        with pytest.raises(KafkaConnectionError):
            asyncio.run(log_in(broker, "wrong"))
        assert answers(broker.server.ports.internal)
    assert not broker.place.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_broker_ends_with_the_process_that_started_it(
    kafka_is_here: None, how: signal.Signals
) -> None:
    program = (
        "import time\n"
        "from tests.kafka.broker import Broker\n"
        "with Broker() as broker:\n"
        "    print(broker.server.ports.client, broker.place, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:
        assert owner.stdout is not None
        said, place = owner.stdout.readline().split()
        port = int(said)
        assert answers(port)
        owner.send_signal(how)
        owner.wait(60)
    deadline = time.monotonic() + 20
    while accepts(port) or Path(place).exists():
        assert time.monotonic() < deadline, "the broker or its data outlived its owner"
        time.sleep(0.05)
