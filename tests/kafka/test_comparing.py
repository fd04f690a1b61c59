"""Two versions compared on a real cluster: partitions are read in turn, their figures are one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from river import metrics

from stream_app.kafka.log import KafkaLog
from tests.cli.terminal import Terminal
from tests.kafka.cluster import HasBootstrap, Place
from tests.kafka.test_topics import events

EVENTS = 400


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    opened = Terminal(tmp_path_factory.mktemp("terminal"))
    yield opened
    opened.close()


@pytest.fixture
def place(broker: HasBootstrap, tmp_path: Path, terminal: Terminal) -> Iterator[Place]:
    """A pipeline that has run over labelled events in two partitions, v2 another model than v1."""
    made = Place(broker.bootstrap, tmp_path)
    made.declare(model_per="key")
    text = made.file.read_text()
    other = 'LogisticRegression(l2=0.5 * (v == "v2"))'
    made.file.write_text(text.replace("LogisticRegression()", other))
    (tmp_path / "rows.jsonl").write_text(_labelled(EVENTS))
    for command in (
        ("topics", "shop.py", "--create", "--partitions", "2"),
        ("produce", "shop.py", "rows.jsonl"),
        ("run", "shop.py", "--until-end"),
    ):
        shown = terminal.run(tmp_path, *command, "--broker", made.url)
        assert shown.code == 0, shown
    yield made
    made.delete()


def _labelled(count: int) -> str:
    """Return events of seven keys, so that a model of a key learns something."""
    rows = []
    for i, line in enumerate(events(count).splitlines()):
        row = json.loads(line)
        rows.append(row | {"key": f"k{i % 7}", "label": i * 37 % 11 > 4})
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_figures_of_all_partitions_are_those_by_hand_also_of_a_range(
    place: Place, terminal: Terminal
) -> None:
    def compared(*more: str) -> dict[str, Any]:
        arguments = ("compare", place.name, "v1", "v2", "--json", "--broker", place.url)
        [found] = terminal.run(place.directory, *arguments, *more).json()
        return dict(found)

    whole = compared()
    assert whole["counted"]["compared"] == EVENTS
    assert len(whole["partitions"]) == 2
    assert [row["a"] for row in whole["metrics"]] == pytest.approx(_by_hand(place, "predictions"))
    assert [row["b"] for row in whole["metrics"]] == pytest.approx(_by_hand(place, "shadow.v2"))
    assert whole["metrics"][0]["low"] is not None
    part = compared("--from", "1@20", "--by", "key")
    assert [row["partition"] for row in part["partitions"]] == [1]
    assert part["counted"]["compared"] == sum(row["examples"] for row in part["slices"])
    assert part["counted"]["compared"] < EVENTS / 2 + 100
    recent = compared("--from", "-1h")
    assert recent["metrics"] == whole["metrics"]


def _by_hand(place: Place, ending: str) -> list[float]:
    scores: list[Any] = [metrics.ROCAUC(n_thresholds=100), metrics.LogLoss()]
    with closing(KafkaLog(place.connection)) as log:
        for partition in (0, 1):
            labels = {
                r.offset: json.loads(r.value)["label"]
                for r in _all(log, place, "events", partition)
            }
            for record in _all(log, place, ending, partition):
                row = json.loads(record.value)
                if row["kind"] == "prediction":
                    late = labels[row["source"]["offset"]]
                    p = row["probability"]
                    for score in scores:
                        score.update(late, {True: p, False: 1 - p})
    return [float(score.get()) for score in scores]


def _all(log: KafkaLog, place: Place, ending: str, partition: int) -> list[Any]:
    found: list[Any] = []
    while rows := log.read(
        place.topic(ending), partition, found[-1].offset + 1 if found else 0, records_max=5000
    ):
        found += rows
    return found
