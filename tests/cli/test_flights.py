from __future__ import annotations

import json
from pathlib import Path

from tests.cli.terminal import Terminal

ROOT = Path(__file__).parents[2]


def test_flights_go_through_a_pipe_into_a_log(terminal: Terminal, tmp_path: Path) -> None:
    printed = terminal.run(tmp_path, "flights", "--days", "1")
    assert printed.code == 0, printed
    lines = printed.out.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("label") <= kinds.count("observation") == 838
    declaration = str(ROOT / "deploy/flights.py")
    sent = terminal.run(
        tmp_path, "produce", declaration, "--partitions", "4", "--json", stdin=printed.out
    )
    assert sent.code == 0, sent
    [produced] = sent.json()
    assert produced["acknowledged"] == len(lines)
    assert produced["refused"] == 0


def test_more_days_begin_with_fewer(terminal: Terminal, tmp_path: Path) -> None:
    """A producer that is started again with more days repeats what was sent, id by id."""
    one = terminal.run(tmp_path, "flights", "--days", "1").out.splitlines()
    two = terminal.run(tmp_path, "flights", "--days", "2").out.splitlines()
    ids = {json.loads(line)["id"] for line in two}
    assert {json.loads(line)["id"] for line in one} < ids
    assert terminal.run(tmp_path, "flights", "--days", "0").code == 2
