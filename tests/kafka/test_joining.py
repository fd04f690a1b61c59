"""A worker that wants to join while the broker is away."""

from __future__ import annotations

import asyncio

import pytest

from scripts.broker.server import HOST, free_ports
from stream_app.errors import LogUnavailable
from stream_app.kafka.connection import connection
from stream_app.kafka.membership import Membership


async def join(url: str) -> None:
    membership = Membership(connection(url), "nobody.live", ["nobody.events"], "me", lambda _: None)
    try:
        await membership.start()
    finally:
        await membership.stop()


# Faust's consumer thread tells its end by the exception that ended it, besides the app's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_joining_without_a_broker_is_a_named_error_that_a_supervisor_knows() -> None:
    # The worker reached the broker a moment before, to read its manifest, so this is where it
    # learns that the broker is gone. It ended with exit code 1: unexpected, report it.
    url = f"kafka://{HOST}:{free_ports().client}"
    with pytest.raises(LogUnavailable, match=r"joining the group nobody\.live"):
        asyncio.run(asyncio.wait_for(join(url), 60))
