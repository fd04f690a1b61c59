"""Log lines of a terminal: whole fields, on as many lines as they need."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from stream_app.cli.logs import _broken, set_format
from stream_app.hosts.log_repeats import EVERY_S, MESSAGES_MAX, SpareRepeats

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


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Logged]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    set_format("json")
    yield Logged(capsys)
    root.handlers[:] = before
    root.setLevel(level)


class Logged:
    """Logs at given times, and reads what came of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def say(self, at_s: float, text: str, name: str = "aiokafka") -> None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, "%s", (text,), None)
        record.created = 1_700_000_000 + at_s
        logging.getLogger().handle(record)

    def lines(self) -> list[tuple[str, int | None]]:
        rows = [json.loads(line) for line in self._capsys.readouterr().err.splitlines()]
        return [(row["event"], row.get("repeated")) for row in rows]


def test_a_client_that_tries_again_and_again_says_so_once_a_minute(logged: Logged) -> None:
    # A broker that is away for ten minutes made thousands of lines, and hid what else was said.
    for tenth in range(int(10 * (2 * EVERY_S + 1))):
        logged.say(tenth / 10, "Unable connect to broker-1")
    assert logged.lines() == [
        ("Unable connect to broker-1", None),
        ("Unable connect to broker-1", 599),
        ("Unable connect to broker-1", 599),
    ]


def test_what_is_said_of_another_broker_is_a_line_of_its_own(logged: Logged) -> None:
    for text in ("no broker-1", "no broker-2", "no broker-1"):
        logged.say(0, text)
    logged.say(0, "no broker-1", name="asyncio")
    assert [text for text, _ in logged.lines()] == ["no broker-1", "no broker-2", "no broker-1"]


def test_another_exception_under_the_same_text_is_a_line_of_its_own(logged: Logged) -> None:
    """Such as "Task exception was never retrieved", which is all that asyncio says."""
    for error in (OSError("one"), OSError("another"), OSError("one")):
        record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "failed", (), None)
        record.exc_info = (OSError, error, None)
        logging.getLogger().handle(record)
    assert len(logged.lines()) == 2


def test_a_message_that_cannot_be_made_is_no_error_of_who_logs_it() -> None:
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "%d of %d", ("x",), None)
    assert SpareRepeats().filter(record)


def test_our_own_facts_are_all_said(logged: Logged) -> None:
    for at_s in range(3):
        logged.say(at_s, "worker_restarts", name="stream_app")
        logged.say(at_s, "client_exception", name="stream_app.kafka")
    assert len(logged.lines()) == 6


def test_a_clock_that_is_set_back_silences_nobody(logged: Logged) -> None:
    logged.say(3600, "no broker")
    logged.say(0, "no broker")
    assert len(logged.lines()) == 2


def test_only_so_many_messages_are_remembered(logged: Logged) -> None:
    logged.say(0, "the first")
    for number in range(MESSAGES_MAX):
        logged.say(0, f"message {number}")
    logged.say(0, "the first")
    assert logged.lines()[-1] == ("the first", None)


def test_a_librarys_words_are_named_as_its_own_and_no_error_of_ours(
    logged: Logged, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets over most of what it calls errors; what ends something is told by that."""
    logged.say(0, "no coordinator", name="aiokafka.consumer")
    logged.say(0, "worker_restarts", name="stream_app.kafka")
    theirs, ours = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (theirs["level"], theirs["logger"]) == ("warning", "aiokafka.consumer")
    assert (ours["level"], "logger" in ours) == ("error", False)
    set_format("text")
    logged.say(0, "no coordinator", name="aiokafka.consumer")
    assert "warning aiokafka: no coordinator" in capsys.readouterr().err
