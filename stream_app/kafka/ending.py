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
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalOperation, for_code
from aiokafka.protocol.coordination import FindCoordinatorRequest

from stream_app.kafka.batches import while_it_sends
from stream_app.kafka.committed import ends
from stream_app.kafka.connection import Connection
from stream_app.kafka.patience import AGAIN_S, ask
from stream_app.kafka.wire import AskTransaction

_TRANSACTION = 1  # a coordinator's kind, in the protocol
_NEVER_SEEN = 105  # TRANSACTIONAL_ID_NOT_FOUND, which the client has no name for
# Whoever is at a partition moves its stable end on within this time; what hangs does not.
_MOVES_WITHIN_S = 0.2
_SHOWN_S = 2.0
# A transaction takes milliseconds. One that took longer met a broker that went away.
_SLOW_S = 0.5
_COMMITTED = frozenset({"PrepareCommit", "CompleteCommit"})
_ABORTED = frozenset({"PrepareAbort", "PrepareEpochFence", "CompleteAbort"})
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Standing(NamedTuple):
    """How the newest transaction of an id stands with its coordinator, and who is at it."""

    state: str
    producer_id: int
    epoch: int


async def standing(connection: Connection, transactional_id: str) -> Standing | None:
    """Return how an id stands; None for one that has never been started.

    To be asked before the id is started again, which the coordinator answers by forgetting.
    None as well from brokers before Kafka 3.0, which cannot be asked.
    """

    async def once(admin: AIOKafkaAdminClient) -> tuple[int, Standing]:
        found = await admin._send_request(FindCoordinatorRequest(transactional_id, _TRANSACTION))
        if found.error_code:
            return found.error_code, Standing("", -1, -1)
        answer = await admin._send_request_to_node(
            found.coordinator_id, AskTransaction(transactional_id)
        )
        [row] = answer.to_object()["transactions"]
        found = Standing(row["state"], row["producer_id"], row["producer_epoch"])
        return row["error_code"], found

    answer = await ask(connection, once)
    if answer is None or answer[0] == _NEVER_SEEN:
        return None
    if answer[0]:
        raise for_code(answer[0])(transactional_id)
    return answer[1]


def was_committed(before: Standing, producer_id: int, epoch: int) -> bool | None:
    """Return how the transaction ended that came before a start; None: not known.

    A start raises the epoch by one, and by two when it had to abort what was open. So a previous
    owner that went on after it was asked about is told apart; owners only ever commit.
    """
    raised = epoch - before.epoch if producer_id == before.producer_id else 0
    if before.state in _ABORTED and raised in {1, 2}:
        return False
    if before.state == "Ongoing" and raised in {1, 2}:
        return raised == 1
    if before.state in _COMMITTED and raised == 1:
        return True
    return None


def ended_by(producer: AIOKafkaProducer, error: BaseException) -> BaseException:
    """Return what ended the transaction: who sends after that hears only that there is none."""
    end = producer._txn_manager._transaction_waiter
    if isinstance(error, IllegalOperation | AssertionError) and end is not None and end.done():
        return end.exception() or error
    return error


class Transactions:
    """The transactions of one started producer, one after the other."""

    def __init__(self, connection: Connection, producer: AIOKafkaProducer) -> None:
        self._connection = connection
        self._producer = producer
        self._places: set[TopicPartition] = set()

    async def transact(self, send: Callable[[], Awaitable[T]]) -> T:
        """Begin, `send`, and commit; raises when that cannot be known to have come about.

        Whatever ends the producer's sender ends this too: the client forgets some who wait.
        """
        try:
            return await while_it_sends(self._producer, self._transact(send))
        except BaseException as error:
            end = ended_by(self._producer, error)
            if end is error:
                raise
            raise end from error

    async def _transact(self, send: Callable[[], Awaitable[T]]) -> T:
        """Leave nothing hanging after a slow one, of it or of the one before.

        The commit is answered before all partitions have heard of it, so the next transaction may
        be the slow one. It would take what hangs along, into its abort if this process died.
        """
        began = time.monotonic()
        manager = self._producer._txn_manager
        await self._producer.begin_transaction()
        answer = await send()
        before, self._places = self._places, manager.txn_partitions | manager.partitions_to_add()
        await self._producer.commit_transaction()
        if time.monotonic() - began > _SLOW_S:
            places = before | self._places
            await end_hanging(self._connection, self._producer, places, committed=True)
        return answer


async def end_hanging(
    connection: Connection,
    producer: AIOKafkaProducer,
    places: Collection[TopicPartition],
    *,
    committed: bool | None,
) -> None:
    """End what hangs on `places` of the producer's id, which has no transaction open itself.

    Another id's transactions stay: they are open and will end, or hang and are their owner's. What
    stays is told: readers wait before it.
    """
    stuck = await still_open(connection, places)
    if stuck:
        await asyncio.sleep(_MOVES_WITHIN_S)
        stuck = await unmoved(connection, stuck)
    if stuck and committed is not None:
        await producer.begin_transaction()
        for place in stuck:
            producer._txn_manager.maybe_add_partition_to_txn(place)
        end = producer.commit_transaction if committed else producer.abort_transaction
        await while_it_sends(producer, end())
        began, hung = time.monotonic(), stuck
        while (stuck := await unmoved(connection, hung)) and time.monotonic() - began < _SHOWN_S:
            await asyncio.sleep(AGAIN_S)
        _tell(
            "ended a transaction that the cluster had left open, %s as it was decided, on %s",
            "committed" if committed else "aborted",
            places=hung.keys() - stuck.keys(),
        )
    _tell(
        "a transaction of %s stays open, and readers wait before it: when it is nobody's who is at "
        "work, kafka-transactions.sh find-hanging and abort end it; on %s",
        "another producer" if committed is not None else "unknown outcome",
        places=stuck.keys(),
    )


def _tell(text: str, *words: str, places: Collection[TopicPartition]) -> None:
    if places:
        names = ", ".join(f"{place.topic}/{place.partition}" for place in sorted(places))
        logger.warning(text, *words, names)


async def still_open(
    connection: Connection, places: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return the places where a transaction is open, and the offset that it holds readers at."""
    if not places:
        return {}
    # In this order, or one that ends between the two would look open.
    high = await ends(connection, places, committed=False)
    stable = await ends(connection, places, committed=True)
    return {place: stable[place] for place in places if stable[place] < high[place]}


async def unmoved(
    connection: Connection, held: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return those places where a transaction is open still, and no other one."""
    found = await still_open(connection, held.keys())
    return {place: offset for place, offset in held.items() if found.get(place) == offset}
