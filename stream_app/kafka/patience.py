"""Asks again while brokers come and go: a question may meet one that has just left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotCoordinatorError,
    RequestTimedOutError,
    for_code,
)

from stream_app.kafka.connection import Connection

PATIENCE_S = 30.0
AGAIN_S = 0.05
_PASSING = (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    LeaderNotAvailableError,
    NotCoordinatorError,
    RequestTimedOutError,
)
_AWAY = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError)
T = TypeVar("T")


async def ask(
    connection: Connection, once: Callable[[AIOKafkaAdminClient], Awaitable[tuple[int, T]]]
) -> tuple[int, T] | None:
    """Return (error code, answer) of the first answer that is no passing error.

    None from brokers that do not know the question. Raises what was passing and did not pass.
    """
    admin = AIOKafkaAdminClient(**connection.client_options())
    deadline = time.monotonic() + PATIENCE_S
    try:
        await admin.start()
        while True:
            try:
                code, answer = await once(admin)
                passing = issubclass(for_code(code), _PASSING)
                if not passing:
                    return code, answer
                error: Exception = for_code(code)()
            except _AWAY as away:
                error = away
            if time.monotonic() > deadline:
                raise error
            await asyncio.sleep(AGAIN_S)
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    finally:
        await admin.close()
