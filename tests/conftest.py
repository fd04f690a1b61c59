"""The broker that tests share, and names on it that no other test has."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest

from scripts.broker import jars
from scripts.broker.mishap import BrokerMishap
from stream_app.kafka.connection import Connection
from tests.kafka.broker import Broker

# A run in the background of a shell ignores SIGINT, and every process that it starts would too:
# those that tests stop by Ctrl-C would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


SLOW = ("simulation", "kafka", "recovery")  # begun first, so that what is quick fills the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest rooms in front; everything else stays in its order."""
    items.sort(key=lambda item: [room not in item.path.parts for room in SLOW])


@pytest.fixture(scope="session")
def kafka_is_here(request: pytest.FixtureRequest) -> None:
    """Skip what needs a real Kafka where none can be had; fail where STREAM_APP_REQUIRE_KAFKA=1."""
    mishap = _what_is_missing()
    if mishap is not None:
        if os.environ.get("STREAM_APP_REQUIRE_KAFKA") == "1":
            pytest.fail(f"STREAM_APP_REQUIRE_KAFKA=1, and {mishap}", pytrace=False)
        # pytest's quiet mode shows a skipped test as one letter, and captures what is printed.
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\nNO KAFKA, ITS TESTS ARE SKIPPED: {mishap}", flush=True)
        pytest.skip(str(mishap))


def _what_is_missing() -> BrokerMishap | None:
    try:
        jars.require()
    except BrokerMishap as mishap:
        return mishap
    return None


@pytest.fixture(scope="session")
def broker(kafka_is_here: None) -> Iterator[Broker]:
    """A real Kafka; whoever pauses or kills it brings it back."""
    with Broker() as running:
        yield running


@pytest.fixture
def connection(broker: Broker) -> Connection:
    """The shared Kafka, below a prefix that is this test's alone."""
    return Connection((broker.bootstrap,), prefix=f"{uuid.uuid4().hex[:12]}.")
