"""docs/versions.md, typed from its top to its end: what it shows is what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.page import Page, Said, shape
from tests.cli.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"


@pytest.fixture(scope="module")
def typed(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> list[Said]:
    """Returns every command of the page, and what it said."""
    page = Page(terminal, tmp_path_factory.mktemp("page"), {"USER": "ada"})
    return page.run(PAGE.read_text())


def out(typed: list[Said], *starts: str) -> str:
    """Return what a command said, found by its first words."""
    found = [said.ended.out for said in typed if said.line.startswith(f"stream-app {starts[0]}")]
    assert found, starts
    return found[-1]


def test_the_page_shows_what_its_commands_print(typed: list[Said]) -> None:
    compared = 0
    for said in typed:
        printed = shape(said.ended.out)
        for line in shape(said.shown):
            assert line in printed, (said.line, said.ended.out)
            compared += 1
    assert compared > 12


def test_every_prediction_of_the_page_is_explained_to_the_bit_by_its_own_champion(
    typed: list[Said],
) -> None:
    explained = [said.ended.out for said in typed if said.line.startswith("stream-app explain")]
    assert [text.split(" says")[0].split()[-1] for text in explained] == ["v1", "v3"]
    for text in explained:
        assert "equal, to the bit, to what is in flights.predictions" in text


def test_the_replay_of_the_page_finds_no_difference_across_both_cut_overs(
    typed: list[Said],
) -> None:
    assert "no difference" in out(typed, "replay")
