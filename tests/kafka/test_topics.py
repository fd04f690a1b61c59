"""`topics` on a real cluster: what is missing is made right, what is there is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, assert_error
from tests.kafka.cluster import HasBootstrap, Place

ENDINGS = (
    "events",
    "predictions",
    "evaluations",
    "drift-alerts",
    "dead-letters",
    "shadow.v1",
    "shadow.v2",
    "ledger",
    "checkpoints",
)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    opened = Terminal(tmp_path_factory.mktemp("terminal"))
    yield opened
    opened.close()


@pytest.fixture
def place(broker: HasBootstrap, tmp_path: Path) -> Iterator[Place]:
    made = Place(broker.bootstrap, tmp_path)
    yield made
    made.delete()


def events(count: int) -> str:
    rows = [
        {
            "kind": "observation",
            "id": f"o{i}",
            "ts_ms": 1_700_000_000_000 + i,
            "features": {"price": float(i)},
            "label": i % 3 == 0,
        }
        for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_topics_shows_what_is_missing_and_makes_nothing(place: Place, terminal: Terminal) -> None:
    shown = terminal.run(place.directory, "topics", "shop.py", "--broker", place.url)
    assert shown.code == 0, shown
    assert shown.out.count("missing") == len(ENDINGS)
    create = f"Next: stream-app topics shop.py --create --broker {place.url}"
    assert shown.out.splitlines()[-1] == create
    assert place.partitions() == {}


def test_what_is_missing_is_made_with_the_settings_that_matter(
    place: Place, terminal: Terminal
) -> None:
    made = terminal.run(place.directory, "topics", "shop.py", "--create", "--broker", place.url)
    assert made.code == 0, made
    assert made.out.splitlines()[-1] == f"Next: stream-app run shop.py --broker {place.url}"
    assert place.partitions() == {place.topic(ending): 1 for ending in ENDINGS}
    for ending in ENDINGS:
        settings = place.settings(ending)
        internal = ending in {"ledger", "checkpoints"}
        assert settings["message.timestamp.type"] == "LogAppendTime", ending
        assert settings["cleanup.policy"] == ("compact" if internal else "delete"), ending
    kept = place.settings("events")
    assert (kept["retention.ms"], kept["retention.bytes"]) == ("-1", "-1")


def test_making_topics_again_changes_nothing(place: Place, terminal: Terminal) -> None:
    arguments = ("topics", "shop.py", "--create", "--json", "--broker", place.url)
    first = terminal.run(place.directory, *arguments).json()
    assert {row["state"] for row in first} == {"made"}
    before = {ending: place.settings(ending) for ending in ENDINGS}
    again = terminal.run(place.directory, *arguments).json()
    assert {row["state"] for row in again} == {"ok"}
    assert {ending: place.settings(ending) for ending in ENDINGS} == before


def test_a_topic_that_is_there_with_other_settings_is_left_alone_and_named(
    place: Place, terminal: Terminal
) -> None:
    place.create("events", cleanup_policy="compact", message_timestamp_type="LogAppendTime")
    made = terminal.run(place.directory, "topics", "shop.py", "--create", "--broker", place.url)
    assert made.code == 5, made
    assert place.settings("events")["cleanup.policy"] == "compact"
    assert len(place.partitions()) == len(ENDINGS)
    assert "Differs: " in made.out
    assert f"--entity-name {place.topic('events')} --add-config cleanup.policy=delete" in made.out
    assert made.out.splitlines()[-1] == f"Next: stream-app doctor shop.py --broker {place.url}"


def test_nothing_is_made_beside_a_topic_with_another_number_of_partitions(
    place: Place, terminal: Terminal
) -> None:
    place.create("predictions", partitions=2)
    made = terminal.run(place.directory, "topics", "shop.py", "--create", "--broker", place.url)
    assert_error(made, 2, f"{place.topic('predictions')} has 2 partitions, not 1")
    assert place.partitions() == {place.topic("predictions"): 2}


def test_one_model_for_the_pipeline_refuses_more_partitions_and_says_the_three_choices(
    place: Place, terminal: Terminal
) -> None:
    arguments = ("topics", "shop.py", "--create", "--partitions", "4", "--broker", place.url)
    refused = terminal.run(place.directory, *arguments)
    assert_error(refused, 2, "one partition", 'model_per="partition"', 'model_per="key"')
    assert place.partitions() == {}


def test_more_replicas_than_brokers_are_refused(place: Place, terminal: Terminal) -> None:
    arguments = ("topics", "shop.py", "--create", "--replication", "99", "--broker", place.url)
    assert_error(terminal.run(place.directory, *arguments), 2, "--replication")
    assert place.partitions() == {}


def test_produce_and_run_name_the_command_that_makes_the_topics(
    place: Place, terminal: Terminal
) -> None:
    sent = terminal.run(
        place.directory, "produce", "shop.py", "--broker", place.url, stdin=events(1)
    )
    assert_error(sent, 2, "lacks the topics", "--create")
    ran = terminal.run(place.directory, "run", "shop.py", "--until-end", "--broker", place.url)
    assert_error(ran, 2, "lacks the topics", "--create")
    assert place.partitions() == {}


def test_run_names_an_internal_topic_that_is_missing(place: Place, terminal: Terminal) -> None:
    terminal.run(place.directory, "topics", "shop.py", "--create", "--broker", place.url)
    place.delete("checkpoints")
    ran = terminal.run(place.directory, "run", "shop.py", "--until-end", "--broker", place.url)
    assert_error(ran, 2, f"lacks the topics {place.topic('checkpoints')}", "--create")


def test_every_command_works_once_the_topics_are_made(place: Place, terminal: Terminal) -> None:
    """The number of partitions is said once, when topics are made, and never again."""
    place.declare(model_per="key")

    def run(*arguments: str, stdin: str = "") -> str:
        ended = terminal.run(place.directory, *arguments, stdin=stdin, STREAM_APP_BROKER=place.url)
        assert ended.code == 0, ended
        return ended.out

    run("topics", "shop.py", "--create", "--partitions", "3")
    bad = json.dumps({"kind": "observation", "id": "x", "ts_ms": 1_700_000_000_000})
    run("produce", "shop.py", "--send-bad", stdin=events(200) + bad + "\n")
    run("run", "shop.py", "--until-end")
    assert len(run("consume", place.topic("predictions")).splitlines()) == 200
    assert "missing_feature" in run("dead-letters", place.name) or "features" in run(
        "dead-letters", place.name
    )
    status = json.loads(run("status", place.name, "--json"))
    assert [row["lag"] for row in status["partitions"]] == [0, 0, 0]
    assert sum(row["versions"]["v1"] for row in status["partitions"]) == 200
    assert run("checkpoints", place.name, "--verify").count("whole") == 3
    run("replay", "shop.py")
    place.declare(model_per="key", evaluate_every=60)
    assert "evaluate_every" in run("apply", "shop.py")
    run("topics", place.name)
    run("doctor", place.name)
    run("doctor", "shop.py")


def test_status_does_not_call_the_ends_of_transactions_records(
    place: Place, terminal: Terminal
) -> None:
    """A topic of 20 predictions was shown with one record more for each transaction."""
    run = partial(terminal.run, place.directory, STREAM_APP_BROKER=place.url)
    run("topics", "shop.py", "--create")
    run("produce", "shop.py", stdin=events(20))
    run("run", "shop.py", "--until-end")
    [found] = run("status", place.name, "--json").json()
    sizes = {row["topic"]: (row["offsets"], row["records"]) for row in found["topics"]}
    offsets, records = sizes[place.topic("predictions")]
    assert offsets > 20
    assert records is None
    [head] = [
        line for line in run("status", place.name).out.splitlines() if line.startswith("  TOPIC")
    ]
    assert head.split() == ["TOPIC", "OFFSETS"]
