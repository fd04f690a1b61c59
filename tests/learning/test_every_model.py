"""Every model of River that a pipeline takes is exact: restored, evicted, undone, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest

from stream_app.errors import DeclarationError
from stream_app.learning.refusals import REFUSED
from tests.learning.every_model import RAISE, check, predictors, steps, tasks_of
from tests.learning.models_page import PAGE, page

pytestmark = pytest.mark.filterwarnings("ignore")  # River's, of overflows on these examples

PARTS = 10
# The declaration refuses these; the page says why.
NOT_TAKEN = {"LDA", "variant knn(swinn)", *(name.partition(":")[2] for name in REFUSED)}


def cases() -> list[tuple[str, Any, str]]:
    """Return every model with each of its tasks; of combinations and variants the first one."""
    rows = []
    for name, model in (*predictors(), *steps()):
        tasks = tasks_of(model)
        rows += [(name, model, task) for task in (tasks if ":" in name else tasks[:1])]
    return rows


@pytest.mark.parametrize("part", range(PARTS))
def test_every_model_of_river_is_what_it_is_in_a_plain_loop_whatever_befalls_it(part: int) -> None:
    raised, refused = set(), set()
    mine = cases()[part::PARTS]
    for name, model, task in mine:
        try:
            if check(name, model, task):
                raised.add(name.partition("#")[0])
        except DeclarationError:
            refused.add(name)
    assert raised <= RAISE
    assert {name for name in refused if not any(part in name for part in NOT_TAKEN)} == set()
    assert len(mine) > 20


def test_the_page_of_models_is_what_would_be_generated() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.learning.models_page"
