from collections.abc import Callable

from stream_app.hosts.checkpoint_pace import EVERY_MAX_S, EVERY_S, SHARE, Spacing


def settled(cost_s: Callable[[float], float]) -> float:
    spacing = Spacing()
    for _ in range(50):
        spacing.saved(spacing.wanted_s, cost_s(spacing.wanted_s))
    return spacing.wanted_s


def test_a_cheap_checkpoint_is_taken_every_second() -> None:
    assert settled(lambda _: 0.01) == EVERY_S


def test_a_cost_that_is_always_the_same_is_made_a_small_share_of_the_time() -> None:
    wanted = settled(lambda _: 0.24)
    assert abs(0.24 / wanted - SHARE) < 0.001


def test_nobody_waits_for_ever() -> None:
    assert settled(lambda _: 100.0) == EVERY_MAX_S


def test_a_cost_that_grows_with_the_waiting_is_not_waited_for() -> None:
    # A model for each key: twice the time is twice as many keys, and a restart twice as long.
    assert settled(lambda waited: 0.1 * waited) == EVERY_S


def test_of_a_cost_that_grows_in_part_the_other_part_decides() -> None:
    wanted = settled(lambda waited: 0.09 + 0.1 * waited)
    assert abs(wanted - 0.09 / SHARE) < 0.1


def test_a_cost_that_no_longer_grows_is_noticed() -> None:
    spacing = Spacing()
    for _ in range(10):
        spacing.saved(spacing.wanted_s, 0.1 * spacing.wanted_s)
    for _ in range(50):
        spacing.saved(spacing.wanted_s, 0.3)
    assert abs(spacing.wanted_s - 0.3 / SHARE) < 0.5
