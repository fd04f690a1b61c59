"""What we replace or call of Faust, mode and aiokafka although it is private, as it has to be.

These packages are pinned for that reason. When one of these tests fails after an upgrade, read
how the new version does it, and change `stream_app/kafka` before the pin.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    BrokerResponseError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.producer import sender
from aiokafka.producer.sender import AddPartitionsToTxnHandler, SendProduceReqHandler
from aiokafka.protocol.api import Request, RequestStruct, Response
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.transport.base import Transport as AnyTransport
from faust.transport.consumer import Consumer as AnyConsumer
from faust.transport.consumer import ConsumerThread, ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode import Service
from yarl import URL

from stream_app.kafka import wire
from stream_app.kafka.claim import RETRY_BACKOFF_MS

FAUST, MODE, AIOKAFKA = "faust-streaming", "mode-streaming", "aiokafka"
PINNED = {FAUST: "0.15.3", MODE: "0.7.1", AIOKAFKA: "0.14.0"}

# Methods by who has them, with the names of their parameters.
METHODS: list[tuple[str, type, str, list[str]]] = [
    # membership.py replaces these ...
    (FAUST, Consumer, "_new_consumer_thread", ["self"]),
    (FAUST, AnyConsumer, "_drain_messages", ["self", "fetcher"]),
    (FAUST, AnyConsumer, "perform_seek", ["self"]),
    (FAUST, AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
    # ... and calls these.
    (FAUST, AIOKafkaConsumerThread, "_ensure_consumer", ["self"]),
    (MODE, ConsumerThread, "call_thread", ["self", "fun", "args", "kwargs"]),
    (MODE, Service, "start", ["self"]),
    (MODE, Service, "stop", ["self"]),
    # claim.py and batches.py
    (AIOKAFKA, AIOKafkaProducer, "begin_transaction", ["self"]),
    (AIOKAFKA, AIOKafkaProducer, "commit_transaction", ["self"]),
    (AIOKAFKA, AIOKafkaProducer, "create_batch", ["self"]),
    (AIOKAFKA, AIOKafkaProducer, "send_batch", ["self", "batch", "topic", "partition"]),
    # cursor.py
    (AIOKAFKA, AIOKafkaConsumer, "getmany", ["self", "partitions", "timeout_ms", "max_records"]),
    (AIOKAFKA, AIOKafkaConsumer, "seek", ["self", "partition", "offset"]),
    (AIOKAFKA, AIOKafkaConsumer, "position", ["self", "partition"]),
    (AIOKAFKA, AIOKafkaConsumer, "end_offsets", ["self", "partitions"]),
    (AIOKAFKA, AIOKafkaConsumer, "beginning_offsets", ["self", "partitions"]),
    (AIOKAFKA, AIOKafkaClient, "add_topic", ["self", "topic"]),
    # authorized.py and topic_ids.py
    (AIOKAFKA, AIOKafkaAdminClient, "_send_request", ["self", "request", "node_id"]),
    (AIOKAFKA, AIOKafkaAdminClient, "_send_request_to_node", ["self", "node_id", "request"]),
]


def told(package: str, what: str) -> str:
    return f"{package} {version(package)}: {what}; stream_app/kafka relies on it"


@pytest.mark.parametrize("package", PINNED)
def test_the_version_is_the_one_that_these_tests_were_read_against(package: str) -> None:
    assert version(package) == PINNED[package], told(package, f"not {PINNED[package]}")


@pytest.mark.parametrize(
    ("package", "owner", "name", "parameters"),
    METHODS,
    ids=[f"{owner.__name__}.{name}" for _, owner, name, _ in METHODS],
)
def test_a_method_has_the_signature_that_we_replace_or_call(
    package: str, owner: type, name: str, parameters: list[str]
) -> None:
    method = getattr(owner, name, None)
    assert method is not None, told(package, f"{owner.__name__}.{name} is gone")
    found = list(inspect.signature(method).parameters)
    assert found == parameters, told(package, f"{owner.__name__}.{name} takes {found}")


def test_what_faust_calls_is_the_method_that_we_replace() -> None:
    """A method that nobody calls any more can be replaced without effect."""
    calls: list[tuple[Any, str]] = [
        (ThreadDelegateConsumer.__init__, "self._new_consumer_thread()"),
        (AIOKafkaConsumerThread._create_consumer, "self._create_worker_consumer(transport)"),
        (inspect.getmodule(AnyConsumer), "._drain_messages("),
        (inspect.getmodule(AnyConsumer), ".perform_seek()"),
        (inspect.getmodule(BootStrategy), "self.enable_kafka_producer"),
        (inspect.getmodule(BootStrategy), "self.enable_web"),
        (inspect.getmodule(AnyTransport), "self.Consumer("),
    ]
    for place, call in calls:
        assert call in inspect.getsource(place), told(FAUST, f"nobody says {call}")


def test_faust_keeps_its_thread_and_the_threads_consumer_where_we_look_for_them() -> None:
    assert "self._thread = " in inspect.getsource(ThreadDelegateConsumer.__init__), told(
        FAUST, "Consumer._thread is gone"
    )
    assert hasattr(AIOKafkaConsumerThread, "_consumer"), told(
        FAUST, "AIOKafkaConsumerThread._consumer is gone"
    )


def test_an_app_has_what_a_member_sets_and_reads() -> None:
    async def look() -> None:
        app: Any = faust.App("private-api", broker="kafka://127.0.0.1:1", autodiscover=False)
        for name in ("BootStrategy", "boot_strategy", "topics", "on_partitions_assigned"):
            assert hasattr(app, name), told(FAUST, f"App.{name} is gone")
        assert app.rebalancing is False, told(FAUST, "App.rebalancing is not False at first")
        assert app.crash_reason is None, told(MODE, "Service.crash_reason is not None at first")
        transport = Transport([URL("kafka://127.0.0.1:1")], app)
        app.transport = transport
        assert app.transport is transport, told(FAUST, "App.transport cannot be set")

    asyncio.run(look())


def test_a_coordinator_keeps_the_static_member_that_a_farewell_clears() -> None:
    """Without it a member that leaves only falls silent, and its partitions wait for a time-out."""
    rows: list[tuple[Callable[..., Any], str]] = [
        (AIOKafkaConsumer.__init__, "self._coordinator = None"),
        (AIOKafkaConsumer.start, "self._coordinator = GroupCoordinator("),
        (GroupCoordinator.__init__, "self._group_instance_id = "),
        (GroupCoordinator._maybe_leave_group, "self._group_instance_id is None"),
    ]
    for place, text in rows:
        assert text in inspect.getsource(place), told(
            AIOKAFKA, f"{place.__qualname__} does not say {text}"
        )


def test_a_consumer_keeps_the_client_that_is_told_of_a_topic() -> None:
    text = inspect.getsource(AIOKafkaConsumer.__init__)
    assert "self._client = AIOKafkaClient(" in text, told(
        AIOKAFKA, "AIOKafkaConsumer._client is no AIOKafkaClient"
    )


def test_a_request_of_our_own_is_built_and_its_answer_read_by_what_aiokafka_has() -> None:
    """topic_ids.py declares a version of Metadata that aiokafka lacks."""
    for kind, names in [
        (Request, ["build", "prepare"]),
        (RequestStruct, ["build_request_header", "parse_response_header"]),
        (Response, ["to_object"]),
    ]:
        for name in names:
            assert hasattr(kind, name), told(AIOKAFKA, f"{kind.__name__}.{name} is gone")
    assert RequestStruct.FLEXIBLE_VERSION is False, told(
        AIOKAFKA, "RequestStruct.FLEXIBLE_VERSION has another meaning"
    )
    for name in ("API_KEY", "API_VERSION", "RESPONSE_TYPE", "SCHEMA"):
        assert name in RequestStruct.__annotations__, told(
            AIOKAFKA, f"RequestStruct.{name} is gone"
        )
    built = wire.AskTopicId("orders").prepare({3: (0, 12)})
    assert (built.API_KEY, built.API_VERSION, built.FLEXIBLE_VERSION) == (3, 10, True), told(
        AIOKAFKA, "Request.prepare builds another request than ours"
    )
    # KIP-516: one topic in a compact array, its id (none), its name, and what is not wanted.
    assert built.encode() == b"\x02" + bytes(16) + b"\x07orders" + b"\x00" + bytes(4), told(
        AIOKAFKA, "RequestStruct.encode writes other bytes"
    )
    with pytest.raises(NotImplementedError):
        wire.AskTopicId("orders").prepare({3: (0, 9)})
    with pytest.raises(IncompatibleBrokerVersion):
        wire.AskTopicId("orders").prepare({})


def test_an_error_code_has_the_class_that_we_know_it_by() -> None:
    for code, known in [
        (0, NoError),
        (29, TopicAuthorizationFailedError),
        (30, GroupAuthorizationFailedError),
        (36, TopicAlreadyExistsError),
        (53, TransactionalIdAuthorizationFailed),
    ]:
        found = for_code(code)
        assert found is known, told(AIOKAFKA, f"for_code({code}) is {found.__name__}")
    assert issubclass(for_code(32_000), BrokerResponseError), told(
        AIOKAFKA, "for_code has no class for codes that it does not know"
    )


def test_a_transactional_producer_tells_the_id_and_epoch_that_an_owner_is_told_by() -> None:
    async def look() -> None:
        producer = AIOKafkaProducer(transactional_id="private-api")
        manager = getattr(producer, "_txn_manager", None)
        assert manager is not None, told(AIOKAFKA, "AIOKafkaProducer._txn_manager is gone")
        for name in ("producer_id", "producer_epoch"):
            assert isinstance(getattr(manager, name, None), int), told(
                AIOKAFKA, f"TransactionManager.{name} is no number"
            )
        place = TopicPartition("t", 0)
        manager.set_pid_and_epoch(1, 1)
        manager.begin_transaction()
        manager.maybe_add_partition_to_txn(place)
        assert place in manager.partitions_to_add(), told(AIOKAFKA, "a partition is not added")
        manager.partition_added(place)
        assert manager.txn_partitions == {place}, told(AIOKAFKA, "txn_partitions lacks one")
        batch = producer.create_batch()
        row = {"timestamp": 1, "key": b"k", "value": None, "headers": [("h", b"v")]}
        assert batch.append(**row) is not None, told(AIOKAFKA, "a batch refuses a tombstone")
        assert batch.record_count() == 1, told(AIOKAFKA, "record_count() does not count")
        await producer.stop()

    asyncio.run(look())


def test_faust_waits_for_tables_at_its_start_and_nowhere_else() -> None:
    """A member has none, and is spared that second."""
    waits = inspect.getsource(TableManager).count("self.sleep(")
    at_start = inspect.getsource(TableManager.on_start).count("self.sleep(1.0)")
    assert waits == at_start == 1, told(FAUST, "TableManager sleeps elsewhere, or no more")


def test_a_transaction_that_meets_one_still_ending_is_begun_again_after_our_time() -> None:
    text = inspect.getsource(AddPartitionsToTxnHandler.handle_response)
    assert "return BACKOFF_OVERRIDE" in text, told(
        AIOKAFKA, "AddPartitionsToTxnHandler does not wait for BACKOFF_OVERRIDE"
    )
    assert RETRY_BACKOFF_MS / 1000 == sender.BACKOFF_OVERRIDE


def test_an_idempotent_producer_never_gives_up_a_batch_by_itself() -> None:
    """With an expiry a publish could fail while the broker still takes it."""
    text = inspect.getsource(SendProduceReqHandler._can_retry)
    assert "self._sender._txn_manager is None and batch.expired()" in text, told(
        AIOKAFKA, "SendProduceReqHandler._can_retry expires batches of transactions"
    )
