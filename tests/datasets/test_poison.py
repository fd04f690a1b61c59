"""What poison costs the demo's models: next to nothing where the gate can see it."""

from __future__ import annotations

import pytest

from stream_app.cli.demo_pipeline import pipeline
from stream_app.codec.limits import Limits
from stream_app.datasets.flights import flights
from stream_app.events import Label, Observation
from tests.datasets.poison import SHARE, cost, huge, random_poison, run, spoiled, tightened

DAYS = 6
COST_MAX = 0.005
Events = list[Observation | Label]


@pytest.fixture(scope="module")
def events() -> Events:
    return list(flights(days=DAYS))


def test_random_poison_in_one_record_of_a_hundred_costs_next_to_nothing(events: Events) -> None:
    bad = spoiled(SHARE, 1, sorted({event.id for event in events}))
    assert 0.008 < len(bad) / len(events) < 0.012
    clean = run(pipeline, events, bad, None)
    assert clean.refused == {}  # no real flight is beyond the demo's bound
    poisoned = run(pipeline, events, bad, random_poison)
    assert sum(poisoned.refused.values()) > len(bad) * 0.9
    for version in pipeline.versions:
        assert cost(clean, poisoned, bad, version) <= COST_MAX


def test_without_a_bound_of_its_own_the_same_stream_is_ruined(events: Events) -> None:
    # So the bound is what keeps the promise above, and the poison is worth the name.
    bad = spoiled(SHARE, 1, sorted({event.id for event in events}))
    loose = tightened(pipeline, Limits().magnitude_max)
    clean = run(loose, events, bad, None)
    assert cost(clean, run(loose, events, bad, huge), bad, "v1") > 10 * COST_MAX
