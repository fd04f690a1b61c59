from collections.abc import Callable, Iterable

from stream_app.hosts.checkpoint_pace import EVERY_MAX_S, EVERY_S, SHARE, WORK_SHARE, Pace, Spacing

FOREST = b"x" * 1_000_000
SMALL = b"x" * 1500
WORK_MIN_S = WORK_SHARE * EVERY_S
Rows = dict[bytes, bytes | None]


def settled(cost_s: Callable[[float], float], rows: Callable[[float, float], Rows]) -> float:
    """Return the spacing after many checkpoints; `rows` is told from when to when they are."""
    spacing, now = Spacing(), 0.0
    for _ in range(100):
        waited = spacing.wanted_s
        spacing.saved(cost_s(waited), {"version.v1": rows(now, now + waited)})
        now += waited
    return spacing.wanted_s


def forest(_since: float, _until: float) -> Rows:
    return {b"m": FOREST}


def keys(numbers: Iterable[int]) -> Rows:
    return {b"m%d" % number: SMALL for number in numbers}


def new_keys(since: float, until: float) -> Rows:
    return keys(range(int(since * 100), int(until * 100)))


def test_a_cheap_checkpoint_is_taken_every_second() -> None:
    assert settled(lambda _: 0.01, forest) == EVERY_S


def work_wanted(cost_s: float, *writes: Rows) -> float:
    spacing = Spacing()
    for rows in writes:
        spacing.saved(cost_s, {"version.v1": rows})
    return spacing.work_s


def test_who_is_busy_has_a_checkpoint_as_often_as_its_share_of_the_work_allows() -> None:
    same = forest(0, 1)
    assert work_wanted(0.005, same, same) == WORK_MIN_S
    assert abs(work_wanted(0.02, same, same) - 0.02 / SHARE) < 0.001
    assert work_wanted(0.1, new_keys(0, 1), new_keys(1, 2)) == WORK_MIN_S
    assert abs(work_wanted(0.2, same, same) - 0.2 / SHARE) < 0.001
    assert work_wanted(9.0, same, same) == EVERY_MAX_S


def test_a_checkpoint_that_is_slow_by_itself_is_not_taken_more_often_for_work() -> None:
    assert work_wanted(0.4, new_keys(0, 1), new_keys(1, 2)) == 0.8
    assert work_wanted(3.0, new_keys(0, 1), new_keys(1, 2)) == EVERY_S


def test_work_alone_makes_a_checkpoint_due_and_one_that_is_saved_stands_for_it() -> None:
    pace = Pace()
    pace.learned(WORK_MIN_S / 2)
    assert not pace.due()
    pace.learned(WORK_MIN_S / 2)
    assert pace.due()
    pace.saved(0.001, {"version.v1": forest(0, 1)})
    assert not pace.due()
    never = Pace(every_s=1e9)
    never.learned(1e6)
    assert not never.due()


def test_a_cost_that_is_always_the_same_is_made_a_small_share_of_the_time() -> None:
    wanted = settled(lambda _: 0.24, forest)
    assert abs(0.24 / wanted - SHARE) < 0.001


def test_nobody_waits_for_ever() -> None:
    assert settled(lambda _: 100.0, forest) == EVERY_MAX_S


def test_a_cost_that_grows_with_the_waiting_is_not_waited_for() -> None:
    # A model for each of a million keys: twice the time is twice as many, and twice the restart.
    assert settled(lambda waited: 0.2 * waited, new_keys) == EVERY_S


def test_keys_that_change_all_the_time_are_waited_for_as_one_model_is() -> None:
    wanted = settled(lambda _: 0.12, lambda _since, _until: keys(range(1000)))
    assert abs(wanted - 0.12 / SHARE) < 0.1


def test_where_waiting_saves_less_than_half_the_restart_is_kept_short() -> None:
    def rows(since: float, until: float) -> Rows:
        return keys([*range(10**9, 10**9 + 40)]) | new_keys(since, until)

    assert settled(lambda _: 0.2, rows) == EVERY_S


def test_a_forest_with_observations_that_wait_is_spaced_as_a_forest() -> None:
    def rows(since: float, until: float) -> Rows:
        return forest(since, until) | dict.fromkeys(new_keys(since, until), b"x" * 50)

    wanted = settled(lambda _: 0.24, rows)
    assert 0.7 * 0.24 / SHARE < wanted <= 0.24 / SHARE


def test_rows_that_came_and_went_would_never_have_been_written_by_who_waits() -> None:
    spacing = Spacing()
    spacing.saved(0.2, {"acceptance": dict.fromkeys([b"a", b"b"], b"")})
    spacing.saved(0.2, {"acceptance": dict.fromkeys([b"a", b"b"], None)})
    assert spacing.wanted_s > EVERY_S


def test_a_row_of_another_family_is_another_row() -> None:
    spacing = Spacing()
    spacing.saved(1.0, {"version.v1": {b"m": FOREST}})
    spacing.saved(1.0, {"version.v2": {b"m": FOREST}})
    assert spacing.wanted_s == EVERY_S


def test_a_pause_teaches_nothing_wrong() -> None:
    # Only what was written counts: the same rows after an hour without events say the same.
    assert settled(lambda waited: 0.2 * waited, new_keys) == EVERY_S
    spacing = Spacing()
    for number in range(10):
        spacing.saved(0.2, {"version.v1": new_keys(number, number + 1)})
        spacing.saved(0.001, {"version.v1": {}})
        assert spacing.wanted_s == EVERY_S


def test_a_cost_that_no_longer_grows_is_noticed() -> None:
    spacing = Spacing()
    for number in range(10):
        spacing.saved(0.1, {"version.v1": new_keys(number, number + 1)})
    for _ in range(3):
        spacing.saved(0.3, {"version.v1": {b"m": FOREST}})
    assert abs(spacing.wanted_s - 0.3 / SHARE) < 0.1
