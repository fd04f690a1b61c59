"""Tables on a terminal: no row is longer than a line, and what tells one row apart stays."""

from __future__ import annotations

from pathlib import Path

from stream_app.cli.table import folded_lines, table_lines
from tests.cli.terminal import Terminal, on_a_terminal, shown

HEAD = ("POSITION", "DETAIL", "ORIGINAL")
ROWS = [("flights.events/0@1234", "expected a number, got a string", "x" * 100)]


def test_a_table_is_cut_to_a_width_from_its_last_column_on() -> None:
    whole = list(table_lines(HEAD, ROWS))
    assert len(whole[1]) == len("  ".join(ROWS[0]))
    wide = list(table_lines(HEAD, ROWS, width=80))
    assert [len(line) for line in wide[1:]] == [80]
    assert wide[1].startswith("  ".join(ROWS[0][:2]))
    assert wide[1].endswith("x…")
    narrow = list(table_lines(HEAD, ROWS, width=60))
    assert [len(line) for line in narrow[1:]] == [60]
    assert narrow[1].startswith(ROWS[0][0])
    assert max(map(len, table_lines(HEAD, ROWS, width=1000))) == len(whole[1])


def test_what_a_line_has_no_room_for_follows_in_a_table_below_and_nothing_is_cut() -> None:
    rows = [("v1", "champion", "1,234", "x" * 20), ("v2", "shadow", "9", "y")]
    head = ("VERSION", "ROLE", "LEARNED", "STATE")
    assert list(folded_lines(head, rows, right=(2,), width=30)) == [
        "VERSION  ROLE      LEARNED",
        "v1       champion    1,234",
        "v2       shadow          9",
        "",
        "VERSION  STATE",
        f"v1       {'x' * 20}",
        "v2       y",
    ]
    whole = list(table_lines(head, rows, right=(2,)))
    assert list(folded_lines(head, rows, right=(2,))) == whole
    assert list(folded_lines(head, rows, right=(2,), width=len(whole[1]))) == whole
    assert len(list(folded_lines(head, rows, width=1))) == 3 * 3 + 2


def test_dead_letters_fit_a_terminal_and_are_whole_in_a_pipe(
    prepared: Path, terminal: Terminal
) -> None:
    """A narrow one shows what was wrong, a wide one the beginning of the record, too."""
    for columns, head in ((80, ["DETAIL"]), (120, ["DETAIL", "ORIGINAL"])):
        ended = on_a_terminal(prepared, columns, "dead-letters", "shop")
        lines = [line for line in shown(ended.out) if line]
        assert lines[0].split() == ["POSITION", "REASON", "FIELD", *head]
        assert lines[1].startswith("shop.events/0@300  wrong_type  features.price  expected a numb")
        assert len(lines[1]) <= columns
    assert lines[1].endswith("…")
    assert terminal.run(prepared, "dead-letters", "shop").out.endswith('"}}\n')
