"""Batches grow where there is more and it is quickly learned, and shrink where it is not."""

from __future__ import annotations

from stream_app.hosts.batch_size import BATCH_MAX, BATCH_MIN, QUICK_S, SLOW_S, BatchSize


def test_full_batches_that_are_quickly_learned_grow_up_to_a_bound() -> None:
    size = BatchSize()
    seen = []
    for _ in range(4):
        seen.append(size.records)
        size.learned(size.records, QUICK_S / 2)
    assert seen == [BATCH_MIN, 2 * BATCH_MIN, 4 * BATCH_MIN, BATCH_MAX]


def test_what_is_not_full_or_not_quick_stays_as_large() -> None:
    size = BatchSize()
    size.learned(BATCH_MIN - 1, 0.0)
    size.learned(BATCH_MIN, QUICK_S)
    assert size.records == BATCH_MIN


def test_slow_batches_shrink_down_to_a_bound() -> None:
    size = BatchSize()
    for _ in range(4):
        size.learned(size.records, 0.0)
    seen = []
    for _ in range(4):
        size.learned(size.records, 2 * SLOW_S)
        seen.append(size.records)
    assert seen == [2500, 1250, BATCH_MIN, BATCH_MIN]
