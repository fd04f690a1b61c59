from stream_app.core.resting_models import RestingModels


def test_the_ones_that_have_rested_longest_go_once_bytes_and_models_are_too_many() -> None:
    resting = RestingModels(bytes_max=25)
    for key in ("a", "b", "c", "d"):
        resting.put(key, 1, bytes(10))
    resting.trim(4)
    assert len(resting) == 4
    resting.trim(3)
    assert len(resting) == 3
    resting.trim(0)
    assert [resting.take(key) is None for key in ("a", "b", "c", "d")] == [True, True, False, False]


def test_few_bytes_stay_however_many_models_they_are() -> None:
    resting = RestingModels(bytes_max=1000)
    for number in range(100):
        resting.put(f"k{number}", number, bytes(10))
    resting.trim(0)
    assert len(resting) == 100
    resting.put("one more", 1, b"x")
    resting.trim(0)
    assert len(resting) == 100


def test_what_is_taken_or_put_again_counts_once() -> None:
    resting = RestingModels(bytes_max=20)
    for _ in range(5):
        resting.put("a", 1, bytes(10))
        resting.put("b", 2, bytes(10))
        resting.trim(0)
    assert resting.take("b") == (2, bytes(10))
    assert resting.take("b") is None
    resting.put("c", 3, bytes(10))
    resting.trim(0)
    assert len(resting) == 2
    resting.clear()
    resting.put("d", 4, bytes(20))
    resting.trim(0)
    assert len(resting) == 1
