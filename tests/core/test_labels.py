"""Labels: inline, delayed, early, late, twice, contradicting, unknown: each has its counter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from river import metrics

from stream_app.core.pipeline import Labels, Pipeline, Version
from stream_app.errors import UsageError
from stream_app.events import Label, Observation
from stream_app.learning.tasks import Binary
from stream_app.outputs import DeadLetter, Evaluation, Prediction
from stream_app.testing import Driver
from tests.core.users_models import Counting

WAIT_MS = 1000
T0 = 1_357_000_000_000


@pytest.fixture
def driver() -> Iterator[Driver]:
    pipeline = Pipeline(
        "p",
        task=Binary(),
        labels=Labels(wait=timedelta(milliseconds=WAIT_MS)),
        metrics=metrics.Accuracy(),
        versions={"v1": Version(Counting())},
        evaluate_every=1,
    )
    with Driver(pipeline) as driver:
        yield driver


def counted(driver: Driver) -> dict[str, int]:
    """Return the label counters that are not zero."""
    counters = driver.counters
    names = [name for name in counters.__struct_fields__ if name.startswith(("labels", "timed"))]
    return {name: n for name in names if (n := getattr(counters, name))}


def learned(driver: Driver) -> int:
    return int(driver.model().learned)


def test_the_driver_takes_events_and_time_and_names_what_is_neither(driver: Driver) -> None:
    good = Observation("a", ts_ms=T0, features={})
    for wrong in ({"id": "a"}, [good]):
        with pytest.raises(UsageError, match="is no event"):
            driver.send(good, wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no time to let pass"):
        driver.advance(5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no time to let pass"):
        driver.advance(timedelta(-1))
    assert driver.counters.records == 0


def test_an_inline_label_is_predicted_first_and_learned_at_once(driver: Driver) -> None:
    out = driver.send(Observation("a", T0, {}, label=True), Observation("b", T0, {}))
    said = [o for o in out if isinstance(o, Prediction)]
    assert [o.learned for o in said] == [0, 1]
    assert counted(driver) == {"labels_joined": 1}
    assert driver.waiting == 1


def test_a_delayed_label_joins_and_tells_its_delay(driver: Driver) -> None:
    [figure] = driver.send(Observation("a", T0, {}), Label("a", T0 + 300, True))[1:]
    assert isinstance(figure, Evaluation)
    assert figure.label_delay_ms is not None
    assert (figure.label_delay_ms.p50, figure.label_delay_ms.p95) == (300, 300)
    assert figure.join_rate == 1.0
    assert counted(driver) == {"labels_joined": 1}


def test_an_early_label_waits_for_its_observation_and_its_delay_is_negative(
    driver: Driver,
) -> None:
    assert driver.send(Label("a", T0, True)) == []
    assert counted(driver) == {"labels_early": 1}
    driver.checkpoint()
    driver.crash()
    said, figure = driver.send(Observation("a", T0 + 200, {}))
    assert isinstance(said, Prediction)
    assert isinstance(figure, Evaluation)
    assert said.learned == 0
    assert figure.label_delay_ms is not None
    assert figure.label_delay_ms.p50 == -200
    assert counted(driver) == {"labels_early": 1, "labels_joined": 1}
    assert learned(driver) == 1


def test_an_early_label_is_kept_to_the_end_of_its_wait_and_not_longer(driver: Driver) -> None:
    driver.send(Label("a", T0, True), Label("b", T0, True))
    driver.advance(timedelta(milliseconds=WAIT_MS))
    driver.send(Observation("a", T0, {}))
    assert counted(driver) == {"labels_early": 2, "labels_joined": 1}
    driver.advance(timedelta(milliseconds=1))
    driver.send(Observation("b", T0, {}))
    assert counted(driver) == {"labels_early": 2, "labels_joined": 1, "labels_unknown": 1}


def test_a_label_at_the_end_of_the_wait_joins(driver: Driver) -> None:
    driver.send(Observation("a", T0, {}))
    driver.advance(timedelta(milliseconds=WAIT_MS))
    driver.send(Label("a", T0, True))
    assert counted(driver) == {"labels_joined": 1}


def test_a_label_after_the_wait_is_late(driver: Driver) -> None:
    driver.send(Observation("a", T0, {}))
    driver.advance(timedelta(milliseconds=WAIT_MS + 1))
    assert driver.send(Label("a", T0, True)) == []
    assert counted(driver) == {"labels_late": 1, "timed_out": 1}
    assert learned(driver) == 0
    driver.checkpoint()
    driver.crash()
    driver.send(Label("a", T0, False))
    assert counted(driver) == {"labels_late": 2, "timed_out": 1}


def test_a_second_label_that_agrees_is_counted_and_not_learned(driver: Driver) -> None:
    driver.send(Observation("a", T0, {}), Label("a", T0, 1))
    assert driver.send(Label("a", T0 + 1, True)) == []
    assert counted(driver) == {"labels_joined": 1, "labels_duplicate": 1}
    assert learned(driver) == 1


def test_a_second_label_that_contradicts_is_a_dead_letter_and_the_first_stands(
    driver: Driver,
) -> None:
    driver.send(Observation("a", T0, {}, label=True))
    driver.checkpoint()
    driver.crash()
    [letter] = driver.send(Label("a", T0 + 1, False))
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.field) == ("conflicting_label", "label")
    assert "'a' is labelled 'True'" in letter.detail
    assert counted(driver) == {"labels_joined": 1, "labels_conflicting": 1}
    assert learned(driver) == 1


def test_early_labels_may_agree_or_contradict_each_other_too(driver: Driver) -> None:
    driver.send(Label("a", T0, True))
    assert driver.send(Label("a", T0, True)) == []
    [letter] = driver.send(Label("a", T0, False))
    assert isinstance(letter, DeadLetter)
    assert counted(driver) == {
        "labels_early": 1,
        "labels_duplicate": 1,
        "labels_conflicting": 1,
    }


@pytest.mark.parametrize("early", [True, False])
def test_an_inline_label_stands_before_an_early_one(driver: Driver, early: bool) -> None:
    driver.send(Label("a", T0, early), Observation("a", T0, {}, label=True))
    second = "labels_duplicate" if early else "labels_conflicting"
    assert counted(driver) == {"labels_early": 1, "labels_joined": 1, second: 1}
    assert learned(driver) == 1


def test_the_label_of_a_refused_observation_is_early_and_in_the_end_unknown(
    driver: Driver,
) -> None:
    driver.send_bytes(b'{"kind":"observation","id":"a"}')
    driver.send(Label("a", T0, True))
    driver.advance(timedelta(milliseconds=WAIT_MS + 1))
    assert counted(driver) == {"labels_early": 1, "labels_unknown": 1}


def test_the_join_rate_is_of_those_whose_wait_has_ended(driver: Driver) -> None:
    events: list[Any] = [Observation(name, T0, {}) for name in "abcd"]
    driver.send(*events)
    [first] = driver.send(Label("a", T0, True))
    driver.advance(timedelta(milliseconds=WAIT_MS + 1))
    [_, second] = driver.send(Observation("e", T0 + 2 * WAIT_MS, {}, label=True))
    assert isinstance(first, Evaluation)
    assert isinstance(second, Evaluation)
    assert (first.join_rate, second.join_rate) == (1.0, 0.4)
    assert second.labels.timed_out == 3
