"""A model that raises is undone, not half-updated; a broken shadow never stops production."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream_app.codec.encode import encode_event
from stream_app.errors import VersionFailed
from stream_app.events import Event, Label, Observation
from stream_app.outputs import Evaluation, ModelFailure, Prediction, StateDigest
from stream_app.testing import Driver
from tests.recovery import faults
from tests.recovery.brittle import Vague
from tests.recovery.machine import Machine, first_difference
from tests.recovery.pipelines import brittle
from tests.recovery.storms import BEGIN_MS

COUNT = 60


def _events(fault: str, failing: set[int], *, without: bool = False) -> list[Event]:
    """Return observations and labels; `without` leaves out every call that fails.

    What fails to predict gets no label, so that this one call is all that is left out.
    """
    rows: list[Event] = []
    for number in range(COUNT):
        fails = number in failing
        at_ms = BEGIN_MS + number * 1000
        wind = (number % 7 - 3) / 2
        features = {"wind": wind, "fault": fault if fails else None}
        if not (fails and without and fault != "learn"):
            rows.append(Observation(f"o{number}", at_ms, features))
        if not (fails and (without or fault != "learn")):
            rows.append(Label(f"o{number}", at_ms + 500, wind > 0))
    return rows


ONCE, OFTEN = {23}, {number for number in range(10, COUNT) if number % 3 == 0}
ALWAYS = set(range(20, COUNT))


def _said(driver: Driver, topic: str) -> list[tuple[str, object, object, int]]:
    return [
        (row.observation_id, row.prediction, row.probability, row.learned)
        for row in driver.outputs(topic)
        if isinstance(row, Prediction) and row.prediction is not None
    ]


@pytest.mark.parametrize("topic", ["predictions", "shadow.brittle"])
@pytest.mark.parametrize("failing", [ONCE, OFTEN], ids=["once", "often"])
@pytest.mark.parametrize("fault", ["predict", "learn"])
def test_a_call_that_raises_leaves_no_trace_in_the_model(
    fault: str, failing: set[int], topic: str
) -> None:
    """Both models change before they raise, so a half-update would show in all that follows."""
    as_champion = topic == "predictions"
    pipeline = brittle("brittle") if as_champion else brittle("steady", others=("brittle",))
    with Driver(pipeline) as failed, Driver(pipeline) as never_called:
        failed.send(*_events(fault, failing))
        never_called.send(*_events(fault, failing, without=True))
        said = _said(failed, topic)
        assert said == _said(never_called, topic)
        assert len(said) == COUNT - (len(failing) if fault == "predict" else 0)
        letters = failed.outputs("dead-letters" if as_champion else topic)
        failures = [row for row in letters if isinstance(row, ModelFailure)]
        assert [row.observation_id for row in failures] == [f"o{n}" for n in sorted(failing)]
        assert {row.call for row in failures} == {fault}


def test_a_learn_that_raises_leaves_prediction_and_score_standing() -> None:
    with Driver(brittle()) as driver:
        driver.send(*_events("learn", ONCE))
        assert len(_said(driver, "predictions")) == COUNT
        last = [row for row in driver.outputs() if isinstance(row, Evaluation)][-1]
        assert (last.scored, last.unscored) == (COUNT, 0)
        [failure] = driver.outputs("dead-letters")
        assert isinstance(failure, ModelFailure)
        assert failure.detail == "ValueError: learned too much"


@pytest.mark.parametrize("fault", ["predict", "nan"])
def test_what_cannot_be_predicted_is_null_with_its_reason(fault: str) -> None:
    with Driver(brittle()) as driver:
        driver.send(*_events(fault, ONCE))
        [null] = [row for row in driver.outputs("predictions") if _is_null(row)]
        assert isinstance(null, Prediction)
        assert (null.observation_id, null.null_reason) == ("o23", "model_raised")
        [failure] = driver.outputs("dead-letters")
        assert isinstance(failure, ModelFailure)
        assert (failure.call, failure.observation_id) == ("predict", "o23")


def test_a_class_that_is_none_is_no_prediction() -> None:
    """NaN is true in Python, and would have been published as yes."""
    with Driver(brittle(model=Vague())) as driver:
        driver.send(*_events("nan", ONCE))
        [null] = [row for row in driver.outputs("predictions") if _is_null(row)]
        assert isinstance(null, Prediction)
        assert null.null_reason == "model_raised"


def _is_null(row: object) -> bool:
    return isinstance(row, Prediction) and row.prediction is None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _begin(machine: Machine, champion: str, fault: str, *others: str) -> None:
    rows = [encode_event(event) for event in _events(fault, ALWAYS)]
    machine.begin(brittle(champion, others=others), rows)


@pytest.mark.parametrize(("fault", "last"), [("predict", "o24"), ("learn", "o24")])
def test_a_champion_that_fails_for_good_stops_before_the_record(
    fault: str, last: str, machine: Machine
) -> None:
    """Five in a row are declared to be for good: the fifth is never committed."""
    pipeline = brittle()
    _begin(machine, "brittle", fault)
    with pytest.raises(VersionFailed) as caught:
        machine.run(pipeline)
    assert caught.value.exit_code == 5
    stopped = machine.outcome(pipeline)
    position = machine.commit(pipeline).next_offset
    assert f"frail.events/0@{position}:" in caught.value.problem
    with closing(machine.log()) as log:
        [record] = log.read("frail.events", 0, position, records_max=1)
    assert last.encode() in record.value
    # Everything before it is published, and nothing of it.
    letters = stopped.published["frail.dead-letters"]
    assert len([value for _, value, _ in letters if b"model_failure" in value]) == 4
    predicted = 24 if fault == "predict" else 25
    assert len(stopped.published["frail.predictions"]) == predicted
    with pytest.raises(VersionFailed) as again:
        machine.run(pipeline)
    assert again.value.problem == caught.value.problem
    assert first_difference(stopped, machine.outcome(pipeline)) is None
    assert machine.replayed(pipeline).difference is None


@pytest.mark.parametrize("fault", ["predict", "learn"])
def test_a_shadow_that_fails_for_good_changes_nothing_of_the_champion(
    fault: str, machine: Machine, tmp_path: Path
) -> None:
    both, alone = brittle("steady", others=("brittle",)), brittle("steady")
    _begin(machine, "steady", fault, "brittle")
    other = machine.copy(tmp_path / "alone")
    machine.run(both)
    other.run(alone)
    beside = machine.outcome(both).published
    shadow = beside.pop("frail.shadow.brittle")
    without = other.outcome(alone).published
    without.pop("frail.shadow.brittle")
    for topic, rows in without.items():
        digests = [value for _, value, _ in beside[topic] if b"state_digest" in value]
        assert beside[topic] == rows, digests[:1]
    assert len([value for _, value, _ in shadow if b'"failed"' in value]) >= 30
    assert "in a row" in machine.commit(both).failed["brittle"]
    assert machine.replayed(both).difference is None


@pytest.fixture(params=[MemoryError, RecursionError, KeyboardInterrupt])
def machine_fault(request: pytest.FixtureRequest) -> Iterator[type[BaseException]]:
    faults.armed.append(request.param)
    yield request.param
    faults.armed.clear()


def test_what_depends_on_the_machine_ends_the_process_and_is_no_part_of_the_fold(
    machine_fault: type[BaseException], machine: Machine, tmp_path: Path
) -> None:
    """Undoing it would make the state depend on how much memory there was."""
    pipeline = brittle()
    rows = [encode_event(event) for event in _events("machine", ONCE)]
    machine.begin(pipeline, rows)
    with closing(machine.log()) as log, closing(machine.open(log, pipeline)) as host:
        host.step(20)
        before = machine.outcome(pipeline)
        with pytest.raises(machine_fault):
            host.step(200)
        for call in (host.checkpoint, lambda: host.step(200)):
            with pytest.raises(RuntimeError, match="not to be trusted"):
                call()
    assert first_difference(before, machine.outcome(pipeline)) is None
    faults.armed.clear()
    undisturbed = machine.copy(tmp_path / "undisturbed")
    machine.run(pipeline)
    undisturbed.run(pipeline)
    assert first_difference(undisturbed.outcome(pipeline), machine.outcome(pipeline)) is None
    assert len(machine.outcome(pipeline).published["frail.predictions"]) == COUNT


def test_the_digest_of_a_users_own_model_tells_half_an_update(machine: Machine) -> None:
    pipeline = brittle()
    with Driver(pipeline) as failed, Driver(pipeline) as never_called:
        failed.send(*_events("learn", {10}))
        never_called.send(*_events("learn", {10}))
        model = never_called.model()
        model.total += 1e-9
        failed.send(*_more(20))
        never_called.send(*_more(20))
        one, other = (
            [row.digest for row in driver.outputs() if isinstance(row, StateDigest) and row.version]
            for driver in (failed, never_called)
        )
        assert one[:5] == other[:5]
        assert one[-1] != other[-1]


def _more(count: int) -> list[Event]:
    at_ms = BEGIN_MS + COUNT * 1000
    return [Observation(f"m{n}", at_ms, {"wind": 0.5}) for n in range(count)]
