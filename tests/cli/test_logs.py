"""Log lines of a terminal: whole fields, on as many lines as they need."""

from __future__ import annotations

from stream_app.cli.logs import _broken

FIELDS = ["partition=0", "next_offset=123456", "lag=0", "records_per_s=1500", "joined=4000"]


def test_a_log_line_breaks_between_fields_where_the_terminal_ends() -> None:
    head = "12:00:00 info    progress"
    lines = list(_broken(head, FIELDS, 60))
    assert [line.split() for line in lines] == [
        ["12:00:00", "info", "progress", *FIELDS[:2]],
        FIELDS[2:],
    ]
    assert max(map(len, lines)) <= 60
    assert lines[1].index("lag") == head.index("progress")
    assert list(_broken(head, FIELDS, None)) == ["  ".join([head, *FIELDS])]
    assert list(_broken(head, ["text=" + "x" * 90], 60))[-1].strip() == "text=" + "x" * 90
