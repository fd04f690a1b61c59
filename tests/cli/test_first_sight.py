"""What a newcomer sees: narrow terminals, the first seconds, advice that can be pasted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stream_app.cli.wrapping import wrapped
from tests.cli.conftest import DECLARATION, json_lines, observation
from tests.cli.terminal import Terminal, assert_error, on_a_terminal, shown

ADVICE = "one of those; or, if its file declares v3, stream-app backfill shop.py v3, then restart"


def test_sentences_break_between_words_and_a_command_stays_whole() -> None:
    lines = wrapped(ADVICE, 60, first=5, indent="  ")
    assert [len(line) <= 60 for line in lines] == [True] * len(lines)
    assert "".join(lines).count("stream-app backfill shop.py v3") == 1
    assert any("stream-app backfill shop.py v3" in line for line in lines)
    assert " ".join(line.strip() for line in lines) == ADVICE
    assert wrapped(ADVICE, None) == [ADVICE]
    long = "stream-app promote shop v3 --reason 'it is so much better than all that was before it'"
    assert wrapped(f"type {long}", 40) == ["type", long]


def test_an_option_that_is_only_named_holds_nothing_behind_it_together() -> None:
    text = "Error: --from 99999: flights.events/0@99999 is beyond the end of flights.events/0"
    assert [len(line) <= 60 for line in wrapped(text, 60)] == [True, True]


@pytest.mark.parametrize(
    "command",
    [
        "status shop.py",
        "replay shop.py",
        "explain shop.py o120",
        "compare shop.py v1 v2",
        "checkpoints shop",
        "keys shop",
        "topics shop.py",
        "promote shop v2 --reason better",
        "backfill shop.py v9",
        "explain shop.py 0@99999",
        "status --broker none.db",
    ],
)
def test_no_line_is_wider_than_a_terminal_of_80_columns(shop: Path, command: str) -> None:
    ended = on_a_terminal(shop, 80, *command.split())
    lines = shown(ended.out)
    assert any(lines)
    for line in lines:
        if str(shop) not in line:  # a path stays whole, and this test's may be long
            assert len(line) <= 80, line


def test_what_takes_long_at_first_is_said_on_a_terminal_and_nowhere_else(
    shop: Path, terminal: Terminal
) -> None:
    for arguments in (["run", "shop.py", "--until-end"], ["backfill", "shop.py", "v2"]):
        came = on_a_terminal(shop, 80, *arguments).out
        assert came.index(f"starting {arguments[0]} ...") < came.index("reading shop.py ...")
        assert not any(line.endswith("...") for line in shown(came))
        quiet = terminal.run(shop, *arguments)
        assert "..." not in quiet.out + quiet.err
    came = on_a_terminal(shop, 80, "run", "shop.py", "--until-end").out
    assert came.index("reading shop.py ...") < came.index("opening sqlite:///.stream-app/log.db")
    dumb = on_a_terminal(shop, 80, "status", "shop", TERM="dumb")
    assert "\x1b[K" not in dumb.out


def test_advice_has_the_file_that_was_typed_and_the_log_that_was_meant(
    shop: Path, terminal: Terminal
) -> None:
    folder = shop / "my pipelines"
    folder.mkdir()
    shutil.move(shop / "shop.py", folder / "shop.py")
    spec = "my pipelines/shop.py"
    label = terminal.run(shop, "explain", spec, "0@1", "--version", "v2")
    assert label.code == 0, label
    ahead = terminal.run(shop, "explain", spec, "0@99999")
    assert_error(ahead, 2, "stream-app run 'my pipelines/shop.py' to go on")
    elsewhere = terminal.run(shop, "explain", spec, "0@99999", "--broker", ".stream-app/log.db")
    assert_error(elsewhere, 2, "shop.py' --broker .stream-app/log.db to go on")
    unnamed = terminal.run(shop, "promote", "shop", "v3", "--reason", "x")
    assert_error(unnamed, 2, "stream-app backfill FILE v3", "FILE: the Python file that declares")


def test_a_label_is_explained_with_the_version_that_was_asked_for(
    empty: Path, terminal: Terminal
) -> None:
    rows = json_lines(observation(1), {"kind": "label", "id": "o1", "ts_ms": 1, "label": True})
    sent = terminal.run(
        empty, "produce", "shop.py", stdin=rows.replace('"ts_ms": 1,', '"ts_ms": 1700000009000,')
    )
    assert sent.code == 0, sent
    assert terminal.run(empty, "run", "shop.py", "--until-end").code == 0
    ended = terminal.run(empty, "explain", "shop.py", "0@1", "--version", "v2")
    assert_error(ended, 2, "Try: stream-app explain shop.py o1 --version v2")


def test_a_command_that_lacks_something_is_shown_whole(shop: Path, terminal: Terminal) -> None:
    for typed, whole in (
        ("promote shop v2", 'promote shop v2 --reason "WHY"'),
        ("promote shop --json", 'promote shop VERSION --reason "WHY" --json'),
        ("compare shop v1", "compare shop v1 V2"),
        ("retain shop", "retain shop --days N"),
    ):
        assert_error(terminal.run(shop, *typed.split()), 2, f"Try: stream-app {whole}\n")
    wrong = terminal.run(shop, "run", "shop.py", "--untilend")
    assert_error(wrong, 2, "no such option: --untilend; did you mean --until-end?")


def test_status_before_the_first_record_says_what_is_missing(
    empty: Path, terminal: Terminal
) -> None:
    text = DECLARATION.replace('features=["items", "price"],', 'features=["items"], start="file",')
    (empty / "shop.py").write_text(text)
    rows = json_lines(*(observation(i) for i in range(3)))
    assert terminal.run(empty, "produce", "shop.py", stdin=rows).code == 0
    by_name = terminal.run(empty, "status", "shop").out
    assert "v1       champion        0  not begun" in by_name
    assert "has processed nothing yet; what begins it: stream-app run shop.py" in by_name
    by_file = terminal.run(empty, "status", "shop.py").out
    assert "v1       champion        0  waits for its file" in by_file
    assert "stream-app import shop.py v1 MODEL" in by_file
    [found] = terminal.run(empty, "status", "shop.py", "--json").json()
    assert found["partitions"][0]["waiting_for_file"] == ["v1"]


def test_what_is_no_file_is_told_with_the_one_that_may_be_meant(
    shop: Path, terminal: Terminal
) -> None:
    (shop / "folder.py").mkdir()
    for typed, *words in (
        ("shpo.py", "did you mean shop.py?", "Try: shop.py"),
        ("folder.py", "folder.py is a directory"),
        ("./", "./ is a directory"),
        (".", ". is a directory"),
        ("shop.py:nothing", "Try: shop.py:pipeline"),
    ):
        assert_error(terminal.run(shop, "run", typed), 2, *words)
    log = terminal.run(shop, "status", "--broker", "folder.py")
    assert_error(log, 4, "folder.py is a directory, and the event log is a file")


def test_a_topic_without_records_is_said_to_have_none(empty: Path, terminal: Terminal) -> None:
    assert terminal.run(empty, "produce", "shop.py").code == 0
    ended = terminal.run(empty, "consume", "shop.predictions")
    assert (ended.code, ended.out, ended.err) == (0, "", "shop.predictions has no records.\n")


def test_a_state_directory_that_nobody_may_look_at_is_a_matter_of_surroundings(
    shop: Path, terminal: Terminal
) -> None:
    """As one without rights is: this one has a name that the file system refuses, to root too."""
    nowhere = "s" * 300
    seen = terminal.run(shop, "status", "shop", "--state", nowhere)
    assert seen.code == 0, seen
    assert "not readable" in seen.out
    assert "File name too long" in seen.out
    for command in ("checkpoints shop", "export shop.py v1 x", "keys shop"):
        ended = terminal.run(shop, *command.split(), "--state", nowhere)
        assert_error(ended, 4, "File name too long")
    assert terminal.run(shop, "explain", "shop.py", "o1", "--state", nowhere).code == 0


def test_who_types_events_is_told_so_and_how_to_end(shop: Path) -> None:
    typed = json_lines(observation(1000)) + "\x04"
    ended = on_a_terminal(shop, 80, "produce", "shop.py", typed=typed)
    assert ended.code == 0, ended
    assert "Reading what you type, a line for each event; Ctrl-D ends it." in ended.out
    assert "1 event acknowledged in shop.events" in ended.out
