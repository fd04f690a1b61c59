"""The bounded form of `scripts/fuzz`: anybody may send anything."""

from __future__ import annotations

import pytest

from tests.codec.fuzz import Fuzzer

INPUTS = 2500


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_bytes_are_sent_become_an_event_or_one_dead_letter(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    fuzzer.run(lambda: fuzzer.inputs < INPUTS)
    # A fuzzer that is refused at the door finds nothing.
    assert fuzzer.tally["accepted"] > INPUTS // 20
    assert fuzzer.tally["refused"] > INPUTS
    assert len(fuzzer.corpus) > 30
