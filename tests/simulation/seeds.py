"""What a seed is put through: its world in storm and in calm, with or without versions moving."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from stream_app.core import identities, joining
from stream_app.hosts import joining as joins
from tests.simulation.installed import a_machine
from tests.simulation.lineages import Lineages
from tests.simulation.simulation import Simulation, Wrong, check_reference, check_same
from tests.simulation.streams import check_all_joined, check_streams
from tests.simulation.world import SEGMENT, World, world_of


def versions_move(seed: int) -> bool:
    """Tell whether a seed's storm is one in which versions come and go."""
    return random.Random(f"lineages {seed}").random() < 0.4


def simulate(seed: int) -> Counter[str]:
    """Let a seed's world go through its storm; raises `Wrong`, else returns what befell it."""
    with pytest.MonkeyPatch.context() as patch, a_machine():
        # Short histories are to fill many segments of ids, and joins to have many steps.
        patch.setattr(identities, "SIZE", SEGMENT)
        patch.setattr(identities, "_SHIFT", SEGMENT.bit_length() - 1)
        patch.setattr(joining, "KEYS_PER_SAVE", 2)
        patch.setattr(joins, "STEP_RECORDS", 5)
        patch.setattr(joins, "JOIN_RECORDS_MAX", 60)
        world = world_of(seed)
        draw = random.Random(~seed)
        if versions_move(seed):
            return _lineages(world, draw)
        calm = Simulation(world, None).run()
        check_reference(world, calm)
        storm = Simulation(world, draw)
        check_same(calm, storm.run())
        return storm.tally


def _lineages(world: World, draw: random.Random) -> Counter[str]:
    undisturbed = Lineages(world, None)
    calm = undisturbed.all_joined()
    reference = check_reference(world, calm)
    lineages = Lineages(world, draw)
    check_streams(calm, reference, lineages, lineages.storm())
    storm = lineages.all_joined()
    check_streams(calm, reference, lineages, storm)
    check_all_joined(calm, storm, lineages.begins)
    if lineages.saved_keys() != undisturbed.saved_keys():
        raise Wrong("the live state has rows that are nobody's, or lacks some")
    return lineages.tally
