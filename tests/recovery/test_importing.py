"""kill -9 of `import`, and of the `run` that reads its order: the same command finishes it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream_app import pack_model
from stream_app.core.pipeline import Pipeline
from stream_app.hosts.blob_topic import PIECE_BYTES
from stream_app.hosts.pipeline_file import load_pipeline
from stream_app.storage.sqlite_log import SqliteLog
from tests.recovery.dying import Moment, lived

DECLARATION = """
from datetime import timedelta

from river import linear_model

from stream_app import Binary, Labels, Pipeline, Version

pipeline = Pipeline(
    "tuning",
    task=Binary(),
    features={"a": float},
    labels=Labels(wait=timedelta(days=1)),
    model_per="partition",
    versions={
        "v1": Version(linear_model.LogisticRegression()),
        "tuned": Version(linear_model.LogisticRegression(), start="file"),
    },
    initial_champion="v1",
    metrics={},
    digest_every=1000,
)
"""
T0 = 1_700_000_000_000
EACH = 60
WORDS = 20_000  # of about 60 bytes each
IMPORT = ("import", "tuning.py", "tuned", "tuned.stream-model", "--by", "a test", "--json")
RUN = ("run", "tuning.py", "--until-end", "--partitions", "2")
TABLES, LOG = "stream_app.storage.sqlite_tables", "stream_app.storage.sqlite_log:SqliteLog"
PIECES = 3


def _events(first: int) -> str:
    rows = [
        {"id": f"o{i}", "ts_ms": T0 + i * 1000, "features": {"a": i % 7 - 3.0}, "label": i % 3 == 0}
        for i in range(first, first + EACH)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _large(pipeline: Pipeline) -> Any:
    """Return a model whose file has several pieces."""
    model: Any = pipeline.untrained("tuned")
    model.learn_one({"a": 1.0} | {f"{i:060d}": 1.0 for i in range(WORDS)}, True)
    return model


def _good(directory: Path, *arguments: str, river: str | None = None) -> None:
    code = lived(directory, arguments, river=river)
    assert code == 0, (directory / "said").read_text()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of two partitions that has run, a file to import, and events to come; copy it."""
    directory = tmp_path_factory.mktemp("begun")
    file = directory / "tuning.py"
    file.write_text(DECLARATION)
    for name, first in (("before", 0), ("after", EACH)):
        (directory / f"{name}.jsonl").write_text(_events(first))
    _good(directory, *RUN)
    _good(directory, "produce", "tuning.py", "before.jsonl")
    _good(directory, *RUN)
    pipeline, path = load_pipeline(str(file)), directory / "tuned.stream-model"
    state = str(directory / ".stream-app/state")
    pack_model(_large(pipeline), path, task=pipeline.task, learned=1, state=state)
    assert (PIECES - 1) * PIECE_BYTES < path.stat().st_size < PIECES * PIECE_BYTES
    return directory


@pytest.fixture
def machine(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "machine"))


@pytest.fixture(scope="module")
def undisturbed(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """What a run puts out in which nobody was killed."""
    directory = tmp_path_factory.mktemp("undisturbed") / "machine"
    shutil.copytree(begun, directory)
    _good(directory, *IMPORT)
    _good(directory, "produce", "tuning.py", "after.jsonl")
    _good(directory, *RUN)
    outcome = _outcome(directory)
    said = [json.loads(row) for row in outcome["tuning.shadow.tuned/1"]]
    assert sum(row.get("null_reason") == "untrained" for row in said) > EACH // 4
    assert sum(row.get("learned", 0) > 1 for row in said) > EACH // 4
    return outcome


def _log(directory: Path) -> SqliteLog:
    return SqliteLog.open(directory / ".stream-app/log.db", create=False)


def _outcome(directory: Path) -> dict[str, list[bytes]]:
    """Return every prediction, by topic and partition."""
    found = {}
    with closing(_log(directory)) as log:
        for topic in ("tuning.predictions", "tuning.shadow.tuned"):
            for partition in (0, 1):
                rows = log.read(topic, partition, 0, records_max=1 << 20)
                found[f"{topic}/{partition}"] = [
                    row.value for row in rows if b'"kind":"prediction"' in row.value
                ]
    return found


def _orders(directory: Path) -> list[int]:
    """Return how many orders to begin each partition has."""
    with closing(_log(directory)) as log:
        return [
            sum(
                b'"import"' in r.value for r in log.read("tuning.events", p, 0, records_max=1 << 20)
            )
            for p in (0, 1)
        ]


@pytest.mark.parametrize(
    ("moment", "orders", "pieces"),
    [
        (Moment("before", 1, f"{TABLES}:_insert_batch"), 0, 0),
        (Moment("after", 1, f"{LOG}.append"), 0, 1),
        (Moment("before", PIECES, f"{LOG}.append"), 0, PIECES - 1),
        (Moment("after", 1, "stream_app.hosts.blob_topic:BlobTopic.append"), 0, PIECES),
        (Moment("after", PIECES + 1, f"{TABLES}:_insert_batch"), 0, PIECES),
        (Moment("before", 1, f"{TABLES}:set_value"), 0, PIECES),
        (Moment("after", 1, f"{TABLES}:set_value"), 0, PIECES),
        (Moment("after", 1, f"{LOG}.append_with_ledger"), 1, PIECES),
    ],
    ids=[
        "before the first piece",
        "behind the first piece",
        "before the last piece",
        "between the pieces and the order",
        "with the order in one of two partitions",
        "between the order and its note",
        "before both are committed",
        "behind the order",
    ],
)
def test_an_import_that_was_killed_is_finished_by_the_same_command(
    machine: Path, undisturbed: dict[str, list[bytes]], moment: Moment, orders: int, pieces: int
) -> None:
    assert lived(machine, IMPORT, moment) == -9
    assert _orders(machine) == [orders] * 2
    with closing(_log(machine)) as log:
        there = log.bounds("tuning.blobs", 0)[1] if "tuning.blobs" in log.topics() else 0
    assert there == pieces
    _good(machine, *IMPORT)
    [said] = [json.loads(line) for line in (machine / "said").read_text().splitlines()]
    assert said["changed"] == (orders == 0)
    assert _orders(machine) == [1, 1]
    _good(machine, "produce", "tuning.py", "after.jsonl")
    _good(machine, *RUN)
    assert _outcome(machine) == undisturbed


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_was_killed_when_one_partition_had_read_the_order_goes_on(
    machine: Path, undisturbed: dict[str, list[bytes]], when: str, nth: int
) -> None:
    _good(machine, *IMPORT)
    _good(machine, "produce", "tuning.py", "after.jsonl")
    publish = "stream_app.storage.sqlite_claim:SqliteClaim.publish"
    assert lived(machine, RUN, Moment(when, nth, publish)) == -9
    _good(machine, *IMPORT)
    assert _orders(machine) == [1, 1]
    _good(machine, *RUN)
    assert _outcome(machine) == undisturbed
    _good(machine, "replay", "tuning.py", "--version", "tuned")


def test_an_import_is_folded_again_from_the_origin_in_an_environment_that_was_accepted(
    tmp_path: Path,
) -> None:
    (tmp_path / "tuning.py").write_text(DECLARATION)
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_text(_events(number * EACH))
    old = "0.1.0"
    _good(tmp_path, *RUN, river=old)
    _good(tmp_path, "produce", "tuning.py", "0.jsonl", river=old)
    _good(tmp_path, *RUN, river=old)
    export = ("export", "tuning.py", "v1", "tuned.stream-model", "--partition", "0")
    _good(tmp_path, *export, river=old)
    _good(tmp_path, *IMPORT, river=old)
    _good(tmp_path, "produce", "tuning.py", "1.jsonl", river=old)
    _good(tmp_path, *RUN, river=old)
    before = _outcome(tmp_path)
    assert lived(tmp_path, RUN) == 5
    assert "was learned under river 0.1.0" in (tmp_path / "said").read_text()
    _good(tmp_path, "apply", "tuning.py", "--accept-environment", "--reason", "tried on a copy")
    for path in (tmp_path / ".stream-app/state").glob("*/tuning/*"):
        shutil.rmtree(path)
    _good(tmp_path, "produce", "tuning.py", "2.jsonl")
    _good(tmp_path, *RUN)
    assert "there is no checkpoint" in (tmp_path / "said").read_text()
    after = _outcome(tmp_path)
    assert all(rows == after[topic][: len(rows)] for topic, rows in before.items())
    newest = json.loads(after["tuning.shadow.tuned/1"][-1])
    assert newest["learned"] > EACH // 2
    _good(tmp_path, "replay", "tuning.py")
    explain = ("explain", "tuning.py", f"o{3 * EACH - 1}", "--version", "tuned", "--json")
    _good(tmp_path, *explain)
    assert json.loads((tmp_path / "said").read_text())["same"] == "equal"
