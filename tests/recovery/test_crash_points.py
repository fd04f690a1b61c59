"""kill -9 at every step of a start, a publish and a save: nobody who reads can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_app.core.pipeline import Pipeline
from tests.recovery.machine import Machine, first_difference
from tests.recovery.mortal import Death, Life, Mortals
from tests.recovery.pipelines import PIPELINES

Stormy = Callable[[Pipeline], Machine]
Deaths = list[tuple[str, int]]

START = ["claimed", "state opened", "state restored", "learned again", "chain verified"]
PUBLISH = ["before publish", "after publish"]
SAVE = ["memory full", "before save", "batch written", "WAL flushed", "save counted", "after save"]
END = ["shutdown", "closing", "closed"]


def _deaths_at(step: str) -> Deaths:
    if step in START:
        # A start comes once in a life, so work is done, and left unsaved, between two of them.
        some_work: Deaths = [("after publish", 5), ("before save", 2), ("before save", 3)]
        return [death for work in some_work for death in (work, (step, 1))]
    return [(step, nth) for nth in ((1, 1, 2, 1) if step == "memory full" else (1, 2, 3, 1))]


def _live_through(mortal: Mortals, machine: Machine, name: str, deaths: Deaths) -> Death:
    for step, nth in deaths:
        death = mortal(Life(str(machine.root), name, step, nth))
        assert death.killed, f"was not killed at {step}, {nth}: {death}"
    last = mortal(Life(str(machine.root), name))
    assert last.code == 0
    return last


@pytest.fixture(scope="module")
def undisturbed(
    mortal: Mortals, stormy: Stormy, tmp_path_factory: pytest.TempPathFactory
) -> Stormy:
    """Returns the machine on which a pipeline ran in one life."""
    done: dict[str, Machine] = {}

    def machine(pipeline: Pipeline) -> Machine:
        if pipeline.name not in done:
            root = tmp_path_factory.mktemp("undisturbed") / pipeline.name
            done[pipeline.name] = stormy(pipeline).copy(root)
            [name] = [name for name, known in PIPELINES.items() if known is pipeline]
            _live_through(mortal, done[pipeline.name], name, [])
        return done[pipeline.name]

    return machine


@pytest.mark.parametrize("step", [*START, *PUBLISH, *SAVE])
def test_a_model_per_key_outlives_kill_9_at_every_step(
    step: str, mortal: Mortals, stormy: Stormy, undisturbed: Stormy, tmp_path: Path
) -> None:
    pipeline = PIPELINES["by_key"]
    machine = stormy(pipeline).copy(tmp_path / "machine")
    _live_through(mortal, machine, "by_key", _deaths_at(step))
    expected = undisturbed(pipeline).outcome(pipeline)
    assert first_difference(expected, machine.outcome(pipeline)) is None


@pytest.mark.parametrize(
    "deaths",
    [
        [death for step in START for death in _deaths_at(step)[:2]],
        [(step, nth) for nth in (1, 2, 9, 20) for step in PUBLISH],
        [(step, 1 + number % 2) for number, step in enumerate([*SAVE, *SAVE])],
    ],
    ids=["start", "publish", "save"],
)
def test_three_models_side_by_side_outlive_kill_9_at_every_step(
    deaths: Deaths, mortal: Mortals, stormy: Stormy, undisturbed: Stormy, tmp_path: Path
) -> None:
    pipeline = PIPELINES["side_by_side"]
    machine = stormy(pipeline).copy(tmp_path / "machine")
    _live_through(mortal, machine, "side_by_side", deaths)
    expected = undisturbed(pipeline).outcome(pipeline)
    assert first_difference(expected, machine.outcome(pipeline)) is None


@pytest.mark.parametrize("name", PIPELINES)
def test_kill_9_while_it_shuts_down_costs_nothing(
    name: str, mortal: Mortals, stormy: Stormy, undisturbed: Stormy, tmp_path: Path
) -> None:
    """The first death leaves the last records unsaved, the second one finds them to learn again."""
    pipeline = PIPELINES[name]
    machine = stormy(pipeline).copy(tmp_path / "machine")
    last = _live_through(mortal, machine, name, [(step, 1) for step in END])
    assert "learned again" not in last.steps
    expected = undisturbed(pipeline).outcome(pipeline)
    assert first_difference(expected, machine.outcome(pipeline)) is None


@pytest.mark.parametrize("name", PIPELINES)
def test_replay_equals_what_many_lives_published(
    name: str, mortal: Mortals, stormy: Stormy, tmp_path: Path
) -> None:
    """Replay takes every state digest at its place, which lives that relearn do not."""
    pipeline = PIPELINES[name]
    machine = stormy(pipeline).copy(tmp_path / "machine")
    deaths = [("after publish", 5), ("before save", 3), ("before publish", 6), ("WAL flushed", 2)]
    _live_through(mortal, machine, name, deaths)
    report = machine.replayed(pipeline)
    assert report.difference is None
    assert report.digests > 30


def test_the_undisturbed_run_has_everything_in_it_that_could_go_wrong(undisturbed: Stormy) -> None:
    """A comparison of two empty topics would prove nothing."""
    pipeline = PIPELINES["side_by_side"]
    machine = undisturbed(pipeline)
    counters = machine.commit(pipeline).counters
    for name in ("joined", "early", "late", "unknown", "duplicate", "conflicting"):
        assert counters[f"labels_{name}"] > 5, name
    assert counters["timed_out"] > 20
    assert counters["controls"] == 2
    text = b"\n".join(
        value for rows in machine.outcome(pipeline).published.values() for _, value, _ in rows
    )
    for kind in (b'"alert"', b'"reset"', b'"evaluation"', b'"state_digest"', b'"dead_letter"'):
        assert text.count(kind) > 1, kind
