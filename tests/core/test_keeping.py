"""Which checkpoints are kept: near ones close together, old ones far apart, and never too many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stream_app.core.keeping import Keep
from stream_app.errors import DeclarationError


def _kept(policy: Keep, checkpoints: range) -> list[int]:
    kept: list[int] = []
    for offset in checkpoints:
        if policy.due(kept[-1] if kept else 0, offset, 0.0):
            kept.append(offset)
            for gone in policy.surplus(kept, 0):
                kept.remove(gone)
        assert len(kept) <= policy.at_most
    return kept


def test_all_are_kept_while_they_are_few() -> None:
    assert _kept(Keep(records=100, at_most=10), range(10, 1001, 10)) == list(range(100, 1001, 100))


def test_beyond_that_the_gaps_grow_with_the_age_and_the_newest_stay_close() -> None:
    kept = _kept(Keep(records=100, at_most=12), range(100, 1_000_001, 100))
    gaps = [after - before for before, after in zip([0, *kept], kept, strict=False)]
    assert len(kept) == 12
    assert kept[-1] == 1_000_000
    assert gaps[-1] == 100
    for offset, gap in zip(kept, gaps, strict=True):
        assert gap <= 3 * (1_000_000 - offset) + 200


def test_by_default_no_position_of_ten_million_is_far_from_a_kept_one() -> None:
    kept = _kept(Keep(), range(20_000, 10_000_001, 20_000))
    assert max(b - a for a, b in zip([0, *kept], kept, strict=False)) <= 100_000


def test_a_clock_makes_one_due_as_well_and_none_is_due_twice() -> None:
    policy = Keep(every=timedelta(hours=1))
    assert not policy.due(0, 10**9, 3599)
    assert policy.due(0, 10, 3600)
    assert not policy.due(10, 10, 7200)
    assert Keep(records=5, every=timedelta(hours=1)).due(0, 5, 0)
    assert not Keep(at_most=0).due(0, 10**9, 10**9)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"records": 0}, "checkpoints.records"),
        ({"records": True}, "checkpoints.records"),
        ({"at_most": -1}, "checkpoints.at_most"),
        ({"every": 3600}, "checkpoints.every"),
        ({"every": timedelta(0)}, "checkpoints.every"),
    ],
)
def test_what_is_no_policy_is_refused_by_its_path(arguments: Any, path: str) -> None:
    with pytest.raises(DeclarationError, match=path):
        Keep(**arguments)
