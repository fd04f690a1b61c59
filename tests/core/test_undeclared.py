"""Undeclared features are counted by name for people, within bounds and outside of all digests."""

from __future__ import annotations

from river import linear_model

from stream_app.core.pipeline import Pipeline, Version
from stream_app.core.undeclared import NAMES_MAX
from stream_app.events import Observation
from stream_app.hosts.driver import Driver
from stream_app.learning.tasks import Binary


def declare() -> Pipeline:
    return Pipeline(
        "p",
        task=Binary(),
        features={"wind": float | None},
        versions={"v1": Version(linear_model.LogisticRegression())},
    )


def test_what_was_counted_survives_a_crash_and_is_counted_again_from_the_log() -> None:
    with Driver(declare()) as driver:
        for i in range(3):
            driver.send(Observation(f"a{i}", ts_ms=i, features={"winf": 1.0}))
        driver.checkpoint()
        driver.send(Observation("b", ts_ms=5, features={"winf": 1.0, "rain": True}))
        driver.send(Observation("b", ts_ms=5, features={"winf": 1.0}))  # refused: a duplicate
        driver.crash()
        driver.send(Observation("c", ts_ms=6, features={"wind": 1.0}))
        seen = driver._host.processor.acceptance.undeclared.seen
        assert seen == {"winf": 4, "rain": 1}
        assert driver._host.commit is not None
        assert driver._host.commit.undeclared == seen


def test_only_so_many_names_are_counted() -> None:
    with Driver(declare()) as driver:
        for i in range(NAMES_MAX + 5):
            driver.send(Observation(f"a{i}", ts_ms=i, features={f"f{i:02}": 1.0, "f00": 1.0}))
        seen = driver._host.processor.acceptance.undeclared.seen
        assert len(seen) == NAMES_MAX
        assert seen["f00"] == NAMES_MAX + 5
