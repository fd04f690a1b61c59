"""A dump leaves a model slower; where enough calls pay for it, it is made anew from its image."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from river import tree

from stream_app.core.models import JOURNAL_MIN
from stream_app.learning.pickles import pickles_for
from stream_app.learning.tasks import Binary
from stream_app.learning.undo import RELOAD_BYTES_MAX, RELOAD_BYTES_PER_CALL, UndoableModel

GROWN = 6_000


def examples() -> Iterator[tuple[dict[str, float], bool]]:
    """Yield what a tree needs many leaves for."""
    rng = random.Random(3)
    while True:
        x = {f"f{i}": rng.gauss(0, 1) for i in range(10)}
        yield x, (x["f0"] > 0) != (x["f1"] * x["f2"] > 0)


def teach(model: UndoableModel, feed: Iterator[tuple[dict[str, float], bool]], count: int) -> None:
    """Let a model predict and learn."""
    for _ in range(count):
        x, y = next(feed)
        model.predict(x)
        model.learn(x, y)


def fresh() -> UndoableModel:
    """Return a tree that knows nothing."""
    pickles = pickles_for({})
    model = tree.HoeffdingTreeClassifier(
        grace_period=50, delta=0.1, tau=0.2, memory_estimate_period=10**9
    )
    return UndoableModel(Binary(), pickles.dumps(model), 0, pickles)


@pytest.fixture(scope="module")
def grown() -> bytes:
    """Return the image of a tree that is too large to be made anew for nothing."""
    model = fresh()
    teach(model, examples(), GROWN)
    image = model.image()
    assert RELOAD_BYTES_MAX < len(image) < JOURNAL_MIN * RELOAD_BYTES_PER_CALL
    return image


def test_many_calls_pay_for_a_large_models_loading_and_few_do_not(grown: bytes) -> None:
    model, feed = UndoableModel(Binary(), grown, GROWN, pickles_for({})), examples()
    before = model.model
    teach(model, feed, 10)
    model.image()
    assert model.model is before
    teach(model, feed, len(grown) // RELOAD_BYTES_PER_CALL + 100)
    model.image()
    assert model.model is not before


def test_a_large_model_made_anew_goes_on_to_the_bit(grown: bytes) -> None:
    calm, disturbed = (UndoableModel(Binary(), grown, 0, pickles_for({})) for _ in range(2))
    feeds = examples(), examples()
    anew = 0
    for _ in range(4):
        for model, feed in zip((calm, disturbed), feeds, strict=True):
            teach(model, feed, 1000)
        before = disturbed.model
        disturbed.image()
        anew += disturbed.model is not before
    assert anew == 4
    assert calm.last_image() == disturbed.last_image()
