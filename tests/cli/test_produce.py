"""`produce`: what is sent, what is refused and named, and in which order labels come."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from tests.cli.conftest import T0, json_lines, observation
from tests.cli.terminal import Ended, Terminal, assert_error

GOOD = [observation(i) for i in range(3)]
BAD = observation(8) | {"features": {"price": "cheap", "items": 1, "country": "DE"}}
HEAD = "order,when,price,items,country,returned,after"


def events(directory: Path, terminal: Terminal) -> list[Any]:
    """Return the values that are in the log."""
    return terminal.run(directory, "consume", "shop.events").json()


def produce(directory: Path, terminal: Terminal, text: str, *more: str) -> Ended:
    """Send a text to a pipeline, starting it."""
    return terminal.run(directory, "produce", "shop.py", "--json", *more, stdin=text)


def test_good_lines_are_sent_and_bad_ones_are_named_by_their_number(
    empty: Path, terminal: Terminal
) -> None:
    text = json_lines(*GOOD) + "\n" + json_lines(BAD) + "{nonsense\n" + json_lines(observation(9))
    ended = produce(empty, terminal, text)
    assert_error(ended, 2, "line 5: wrong_type: features.price", "line 6: malformed")
    assert ended.json()[0]["acknowledged"] == 4
    assert ended.json()[0]["refused"] == 2
    assert [e["id"] for e in events(empty, terminal)] == ["o0", "o1", "o2", "o9"]


def test_a_mistyped_feature_is_named_with_the_one_that_was_meant(
    empty: Path, terminal: Terminal
) -> None:
    text = (empty / "shop.py").read_text().replace('"items": int', '"items": int | None')
    (empty / "shop.py").write_text(text)

    def with_features(i: int, **features: object) -> dict[str, object]:
        return observation(i) | {"features": {"country": "DE", **features}}

    optional = [with_features(i, price=1.0, itmes=3) for i in range(2)]
    other = with_features(2, price=1.0, items=3, itmes=3, colour="red")
    sent = produce(empty, terminal, json_lines(*optional, other))
    assert (sent.code, sent.err.count("did you mean")) == (0, 1)
    assert "line 1: feature itmes is not declared, and items is absent: did you mean" in sent.err
    required = produce(empty, terminal, json_lines(with_features(3, pirce=1.0, items=1)))
    assert_error(required, 2, "pirce is not declared: did you mean features.price?")


def test_a_file_without_one_event_is_taken_for_another_than_was_meant(
    empty: Path, terminal: Terminal
) -> None:
    text = "# A shop\n\nIts events.\n"
    assert_error(produce(empty, terminal, text), 2, "all of its 2 lines were refused", '{"id": ')
    dry = produce(empty, terminal, text, "--dry-run")
    assert_error(dry, 2, "refused lines: 2", "--send-bad")
    mixed = produce(empty, terminal, text + json_lines(GOOD[0]))
    assert_error(mixed, 2, "refused lines: 2; the rest was taken", "--send-bad")


def test_strict_stops_at_the_first_bad_line_and_keeps_what_came_before(
    empty: Path, terminal: Terminal
) -> None:
    ended = produce(empty, terminal, json_lines(*GOOD, BAD, observation(9)), "--strict")
    assert_error(ended, 2, "line 4", "features.price")
    assert [e["id"] for e in events(empty, terminal)] == ["o0", "o1", "o2"]


def test_bad_lines_that_are_sent_anyway_become_dead_letters(
    empty: Path, terminal: Terminal
) -> None:
    ended = produce(empty, terminal, json_lines(GOOD[0], BAD) + "{nonsense\n", "--send-bad")
    assert ended.code == 0
    assert terminal.run(empty, "run", "shop.py", "--until-end").code == 0
    letters = terminal.run(empty, "dead-letters", "shop", "--json").json()
    assert [row["reason"] for row in letters] == ["wrong_type", "malformed"]
    assert letters[1]["original"]["data"] == "{nonsense"


def test_a_dry_run_checks_every_line_and_makes_no_log(empty: Path, terminal: Terminal) -> None:
    ended = produce(empty, terminal, json_lines(*GOOD, BAD), "--dry-run")
    assert ended.code == 2
    assert ended.json()[0]["acknowledged"] == 0
    assert not (empty / ".stream-app").exists()


def test_the_kind_of_a_line_follows_from_its_fields(empty: Path, terminal: Terminal) -> None:
    label = {"id": "o0", "ts_ms": T0 + 5, "label": True}
    assert produce(empty, terminal, json_lines(GOOD[0], label)).code == 0
    assert [e["kind"] for e in events(empty, terminal)] == ["observation", "label"]


def test_nobody_promotes_by_produce(empty: Path, terminal: Terminal) -> None:
    control = {"kind": "control", "id": "c", "ts_ms": T0, "action": "time"}
    assert_error(produce(empty, terminal, json_lines(control)), 2, "controls are signed")


def csv(terminal: Terminal, directory: Path, rows: list[str], *more: str) -> Ended:
    """Send a CSV file."""
    (directory / "orders.csv").write_text("\n".join([HEAD, *rows]) + "\n", "utf-8-sig")
    columns = ("--id", "order", "--time", "when", "--time-unit", "s", "--label", "returned")
    return terminal.run(directory, "produce", "shop.py", "orders.csv", *columns, *more)


def test_labels_of_a_csv_come_after_their_delay_in_order_of_time(
    empty: Path, terminal: Terminal
) -> None:
    at = T0 // 1000
    rows = [
        f"a,{at},1.5,1,DE,1,",
        f"b,{at + 60},2,1,DE,,",
        f"c,{at + 90},2.5,1,DE,false,",
        f"d,{at + 300},3,1,DE,0,",
    ]
    options = ("--label-delay", "90s", "--feature", "price", "--feature", "items")
    assert csv(terminal, empty, rows, *options, "--feature", "country").code == 0
    sent = events(empty, terminal)
    # a's label ties with c's observation and comes before it; d's comes at the end.
    assert [(e["kind"][0], e["id"]) for e in sent] == [
        ("o", "a"),
        ("o", "b"),
        ("l", "a"),
        ("o", "c"),
        ("l", "c"),
        ("o", "d"),
        ("l", "d"),
    ]
    assert sent[0]["features"] == {"country": "DE", "items": 1, "price": 1.5}
    assert sent[2] == {"kind": "label", "id": "a", "ts_ms": T0 + 90_000, "label": 1}
    assert sent[4]["label"] is False


def test_a_column_may_say_each_delay_and_without_one_labels_are_inline(
    empty: Path, terminal: Terminal
) -> None:
    at = T0 // 1000
    rows = [f"a,{at},1,1,DE,1,120", f"b,{at + 60},2,1,DE,1,7.5"]
    ended = csv(terminal, empty, rows, "--label-delay", "after", "--json")
    assert ended.code == 0
    assert ended.json()[0]["last_line"] == 3  # though the label of line 2 was sent last
    assert [e["ts_ms"] - T0 for e in events(empty, terminal)] == [0, 60_000, 67_500, 120_000]
    assert csv(terminal, empty, [f"c,{at},1,1,DE,1,"]).code == 0
    assert events(empty, terminal)[-1]["label"] == 1


def test_a_label_has_a_time_or_a_delay_and_not_both(empty: Path, terminal: Terminal) -> None:
    ended = csv(terminal, empty, [], "--label-time", "after", "--label-delay", "10m")
    assert_error(ended, 2, "--label-time and --label-delay contradict each other")
    ended = csv(terminal, empty, [], "--label-delay", "10")
    assert_error(ended, 2, "--label-delay 10 has no unit", "--label-delay 10s")


def test_going_on_behind_the_line_where_a_csv_was_stopped_loses_no_label(
    empty: Path, terminal: Terminal
) -> None:
    at = T0 // 1000
    rows = [f"o{i},{at + 60 * i},1,1,DE,1," for i in range(200)]
    options = ("--label-delay", "10m", "--rate", "50")
    (empty / "orders.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    columns = ("--id", "order", "--time", "when", "--time-unit", "s", "--label", "returned")
    words = ("produce", "shop.py", "orders.csv", *columns, *options, "--json")
    running = terminal.start(empty, *words)
    log = empty / ".stream-app/log.db"
    running.wait_for(lambda: log.exists() and len(events(empty, terminal)) > 60)
    stopped = running.stop(signal.SIGINT)
    assert stopped.code == 130
    last = stopped.json()[0]["last_line"]
    assert f"lines up to {last} are acknowledged" in stopped.err
    sent = {(e["kind"], e["id"]) for e in events(empty, terminal)}
    whole = {f"o{i}" for i in range(last - 1)}  # line 1 is the head
    assert {i for kind, i in sent if kind == "label"} == whole
    assert len(sent) > 2 * len(whole) > 0  # observations beyond it went out already
    rest = csv(terminal, empty, rows[last - 1 :], "--label-delay", "10m")
    assert rest.code == 0
    assert terminal.run(empty, "run", "shop.py", "--until-end").code == 0
    [found] = terminal.run(empty, "status", "shop", "--json").json()
    assert found["partitions"][0]["counters"]["labels_joined"] == 200


def test_lines_of_a_csv_that_say_nothing_usable_are_refused_whole(
    empty: Path, terminal: Terminal
) -> None:
    at = T0 // 1000
    rows = [
        f"a,{at},1,1,DE,1,",
        f"b,{at},nan,1,DE,1,",
        "c,yesterday,1,1,DE,1,",
        f"d,{at},1",
        f"e,{at},1,1,DE,maybe,5",
        f"f,{at},1,1,DE,1,soon",
    ]
    ended = csv(terminal, empty, rows, "--label-delay", "after")
    assert_error(
        ended,
        2,
        "line 2: wrong_type: label delay",
        "line 3: not_finite: features.price",
        "line 4: wrong_type: ts_ms: 'yesterday' is no time in Unix seconds",
        "line 5: malformed: 3 cells; the head has 7",
        "line 6: wrong_label",
        "line 7: wrong_type: label delay: 'soon'",
    )
    assert events(empty, terminal) == []


def test_a_column_that_is_not_there_is_named_with_those_that_are(
    empty: Path, terminal: Terminal
) -> None:
    ended = csv(terminal, empty, [], "--key", "customer")
    assert_error(ended, 2, "no column 'customer'", "order, when, price")


def test_a_rate_bounds_events_per_second(empty: Path, terminal: Terminal) -> None:
    began = time.monotonic()
    lines = json_lines(*(observation(i) for i in range(60)))
    assert produce(empty, terminal, lines, "--rate", "100").code == 0
    assert time.monotonic() - began > 0.5
