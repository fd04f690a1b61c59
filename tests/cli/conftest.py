"""One log for all tests of the command line: made once, copied by those who change it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

DECLARATION = """
from datetime import timedelta

from river import linear_model, metrics, preprocessing

from stream_app import Binary, Labels, Pipeline, Version

pipeline = Pipeline(
    "shop",
    task=Binary(),
    features={"price": float, "items": int, "country": str},
    labels=Labels(wait=timedelta(days=2)),
    metrics=metrics.LogLoss(),
    versions={
        "v1": Version(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.1),
            features=["items", "price"],
        ),
        "v2": Version(linear_model.Perceptron(), features=["price"]),
    },
    initial_champion="v1",
    evaluate_every=50,
    digest_every=100,
)
"""
T0 = 1_700_000_000_000
EVENTS = 300


def observation(i: int, **more: object) -> dict[str, object]:
    """Return an observation as a line of JSON has it."""
    features = {"price": float(i * 37 % 101), "items": i % 5, "country": "DE"}
    return {"id": f"o{i}", "ts_ms": T0 + i * 1000, "features": features, **more}


def json_lines(*rows: object) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal."""
    opened = Terminal(tmp_path_factory.mktemp("terminal"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def prepared(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a pipeline that has run over 300 labelled events and one broken one."""
    directory = tmp_path_factory.mktemp("prepared")
    (directory / "shop.py").write_text(DECLARATION)
    rows = [observation(i, label=i * 37 % 101 > 50) for i in range(EVENTS)]
    broken = observation(999) | {"features": {"price": "cheap"}}
    text = json_lines(*rows, broken)
    sent = terminal.run(directory, "produce", "shop.py", "--send-bad", "--json", stdin=text)
    assert sent.json()[0]["acknowledged"] == EVENTS + 1, sent
    ran = terminal.run(directory, "run", "shop.py", "--until-end")
    assert ran.code == 0, ran
    return directory


@pytest.fixture
def shop(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the prepared directory, to change at will."""
    return Path(shutil.copytree(prepared, tmp_path / "shop"))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A directory with nothing but the declaration."""
    (tmp_path / "shop.py").write_text(DECLARATION)
    return tmp_path
