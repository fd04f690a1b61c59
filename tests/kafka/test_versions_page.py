"""docs/versions.md on Kafka: the same commands, with the topics made where the page says."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from tests.cli.conftest import terminal
from tests.cli.page import Page, Said
from tests.cli.terminal import Terminal
from tests.kafka.broker import Broker

__all__ = ["terminal"]

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"


@pytest.fixture(scope="module")
def typed(
    terminal: Terminal, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> list[Said]:
    """Returns every command of the page, and what it said."""
    directory = tmp_path_factory.mktemp("page")
    environment = {
        "STREAM_APP_BROKER": f"kafka://{broker.bootstrap}",
        "STREAM_APP_KAFKA_TOPIC_PREFIX": f"{uuid.uuid4().hex[:12]}.",
    }

    def make_topics(line: str) -> None:
        if line.startswith("stream-app backfill"):
            # Live does not stop for the want of a topic that only the declared version needs.
            live = terminal.run(directory, "run", "flights.py", "--until-end", **environment)
            assert live.code == 0, live
        if re.search(r"stream-app (produce|backfill|import)", line):
            words = ("topics", "flights.py", "--create", "--replication", "1")
            made = terminal.run(directory, *words, **environment)
            assert made.code == 0, made

    return Page(terminal, directory, environment).run(PAGE.read_text(), make_topics)


def out(typed: list[Said], command: str) -> list[str]:
    """Return what every use of a command printed."""
    return [said.ended.out for said in typed if said.line.startswith(f"stream-app {command}")]


def test_the_page_builds_promotes_and_replays_a_version_on_kafka(typed: list[Said]) -> None:
    for version in ("v3", "v4"):
        said = "".join(out(typed, f"backfill flights.py {version}"))
        assert f"{version} of flights is built up to flights.events/0@" in said
        assert "0 records behind live" in said
    [imported] = out(typed, "import")
    assert "(one model, 10,355 examples learned" in imported
    built, promoted = out(typed, "status")
    assert re.search(r"v3 +shadow +8,394 +ok", built)
    assert re.search(r"v3 +champion +10,355 +ok", promoted)
    assert re.search(r"v3 +0@\d+ .*better on ten days", promoted)
    for table in out(typed, "promote"):
        assert re.search(r"0 +v\d +flights\.events/0@\d+ +not reached yet", table)
    for replayed in out(typed, "replay"):
        assert "no difference" in replayed


def test_each_champion_of_the_page_explains_its_prediction_on_kafka(typed: list[Said]) -> None:
    explained = out(typed, "explain")
    assert [text.split(" says")[0].split()[-1] for text in explained] == ["v1", "v3"]
    for text in explained:
        assert "equal, to the bit, to what is in flights.predictions" in text
