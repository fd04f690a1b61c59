"""How transactions end, also those that a coordinator has forgotten on some partition.

A coordinator writes the end of a transaction into every partition of it. One that just then has
no leader, as while its broker comes back from a kill, it takes for deleted and leaves out (seen
with Kafka 4.3: "these partitions are likely deleted already and hence can be skipped"). To the
coordinator the transaction is over; on that partition it stays open, readers of committed records
stop before it, and no time-out ends it: a hanging transaction (KIP-664).

Who starts the same transactional id has the same producer id, and a partition knows a producer's
open transaction by that id alone. So a transaction without records over these partitions, ended as
the hanging one was, ends both. How that was is what the coordinator still tells until the start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    NotCoordinatorError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from stream_app.kafka.batches import while_it_sends
from stream_app.kafka.committed import ends
from stream_app.kafka.connection import Connection

_TRANSACTION = 1  # a coordinator's kind, in the protocol
_AGAIN_S = 0.05
_PATIENCE_S = 30.0
_SHOWN_S = 2.0
# A commit takes milliseconds. One that took longer met a broker that went away.
_SLOW_S = 0.5
_COMMITTED = frozenset({"PrepareCommit", "CompleteCommit"})
_ABORTED = frozenset({"Ongoing", "PrepareAbort", "PrepareEpochFence", "CompleteAbort"})
_PASSING = (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NotCoordinatorError,
)

logger = logging.getLogger(__name__)


async def decision(connection: Connection, transactional_id: str) -> bool | None:
    """Return whether the id's last transaction was, or will be, committed; None: not known.

    To be asked before the id is started again, which the coordinator answers by forgetting.
    Brokers before Kafka 3.0 cannot be asked.
    """
    admin = AIOKafkaAdminClient(**connection.client_options())
    deadline = time.monotonic() + _PATIENCE_S
    try:
        await admin.start()
        while time.monotonic() < deadline:
            code, state = await _state(admin, transactional_id)
            if issubclass(for_code(code), _PASSING):
                await asyncio.sleep(_AGAIN_S)
                continue
            return True if state in _COMMITTED else False if state in _ABORTED else None
    except IncompatibleBrokerVersion:
        return None
    finally:
        await admin.close()
    return None


async def _state(admin: AIOKafkaAdminClient, transactional_id: str) -> tuple[int, str]:
    found = await admin._send_request(FindCoordinatorRequest(transactional_id, _TRANSACTION))
    if found.error_code:
        return found.error_code, ""
    answer = await admin._send_request_to_node(
        found.coordinator_id, _AskTransactions(transactional_id)
    )
    [row] = answer.to_object()["transactions"]
    return row["error_code"], row["state"]


async def commit(connection: Connection, producer: AIOKafkaProducer) -> None:
    """Commit the open transaction; raises when that cannot be known to have come about.

    After a slow commit nothing of it is left hanging: the next transaction would take it along,
    and into its abort when this process dies in it.
    """
    manager = producer._txn_manager
    places = sorted(manager.txn_partitions | manager.partitions_to_add())
    began = time.monotonic()
    await while_it_sends(producer, producer.commit_transaction())
    if time.monotonic() - began > _SLOW_S:
        await end_hanging(connection, producer, places, commit=True)


async def end_hanging(
    connection: Connection,
    producer: AIOKafkaProducer,
    places: Sequence[TopicPartition],
    *,
    commit: bool | None,
) -> None:
    """End what hangs on `places` of the producer's id, which has no transaction open itself.

    Another id's transactions stay: they are open and will end, or hang and are their owner's.
    """
    open_places = await _open(connection, places)
    if not open_places or commit is None:
        return
    await producer.begin_transaction()
    for place in open_places:
        producer._txn_manager.maybe_add_partition_to_txn(place)
    end = producer.commit_transaction if commit else producer.abort_transaction
    await while_it_sends(producer, end())
    deadline = time.monotonic() + _SHOWN_S
    while (left := await _open(connection, open_places)) and time.monotonic() < deadline:
        await asyncio.sleep(_AGAIN_S)
    ended = sorted(set(open_places) - set(left))
    if ended:
        logger.warning(
            "the cluster had left a transaction open that it took for %s: ended so on %s",
            "committed" if commit else "aborted",
            ", ".join(f"{place.topic}/{place.partition}" for place in ended),
        )


async def _open(connection: Connection, places: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Return the places where a transaction is open."""
    if not places:
        return []
    # In this order, or one that ends between the two would look open.
    high = await ends(connection, places, committed=False)
    stable = await ends(connection, places, committed=True)
    return [place for place in places if stable[place] < high[place]]


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString()),
                ("state", CompactString()),
                ("timeout_ms", Int32),
                ("started_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString()),
                        ("partitions", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString())), ("tags", TaggedFields))


class _AskTransactions(Request[_Question]):  # type: ignore[misc]
    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([self._transactional_id], {})
