"""Three terminals on one log at once; how `run` ends; models brought back into a notebook."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from stream_app import Observation, load_model, open_log
from stream_app.errors import StateUnavailable, UsageError
from tests.cli.conftest import EVENTS, T0, json_lines, observation
from tests.cli.terminal import PROGRAM, Terminal, assert_error, clean_environment, real


def test_run_produce_and_consume_work_on_one_log_at_the_same_time(
    empty: Path, terminal: Terminal
) -> None:
    following = terminal.start(empty, "consume", "shop.predictions", "--follow")
    running = terminal.start(empty, "run", "shop.py")
    producing = terminal.start(
        empty,
        "produce",
        "shop.py",
        "--rate",
        "100",
        stdin=json_lines(*(observation(i, label=i % 2 == 0) for i in range(200))),
    )
    following.wait_for(lambda: len(following.lines()) >= 20)
    seen_early = len(following.lines())
    assert producing.end().code == 0
    following.wait_for(lambda: len(following.lines()) == 200)
    assert seen_early < 200  # they came while events were still being sent
    [found] = terminal.run(empty, "status", "shop", "--json").json()
    assert found["partitions"][0]["owner"]["pid"] == running.pid
    assert running.stop(signal.SIGTERM).code == 0
    following.stop()
    ids = [json.loads(line)["observation_id"] for line in following.lines()]
    assert ids == [f"o{i}" for i in range(200)]
    assert terminal.run(empty, "replay", "shop.py").code == 0


def test_a_second_run_of_an_owned_partition_names_the_owner(shop: Path, terminal: Terminal) -> None:
    running = terminal.start(shop, "run", "shop.py")
    running.wait_for(lambda: "run_started" in running.err())
    running.wait_for(lambda: _owner(shop, terminal) == running.pid)
    assert_error(terminal.run(shop, "run", "shop.py"), 4, str(running.pid))
    assert running.stop(signal.SIGINT).code == 130


def test_a_version_that_is_not_declared_is_named_and_no_other_leaves_for_it(
    shop: Path, terminal: Terminal
) -> None:
    ended = terminal.run(shop, "run", "shop.py", "--version", "v1", "--version", "v3")
    assert_error(ended, 2, "no version 'v3', only v1, v2", "Try: one of those")


def test_a_state_directory_that_others_may_write_to_is_refused(
    shop: Path, terminal: Terminal
) -> None:
    (shop / ".stream-app/state").chmod(0o777)
    ended = terminal.run(shop, "run", "shop.py", "--until-end")
    assert_error(ended, 5, "written by other users", "chmod go-w")
    assert_error(terminal.run(shop, "checkpoints", "shop", "--verify"), 5, "written by other users")


def test_a_directory_that_cannot_be_made_for_the_log_is_a_matter_of_surroundings(
    empty: Path, terminal: Terminal
) -> None:
    (empty / "file").touch()
    for place in ("file/log.db", "/proc/none/log.db"):
        ended = terminal.run(empty, "run", "shop.py", "--broker", place)
        assert_error(ended, 4, "cannot be made", "--broker")


def test_a_shadow_that_fails_is_named_though_the_run_goes_on(
    empty: Path, terminal: Terminal
) -> None:
    # Its one feature is no number, so every call raises.
    text = (empty / "shop.py").read_text()
    broken = 'Perceptron(), features=["country"]'
    (empty / "shop.py").write_text(text.replace('Perceptron(), features=["price"]', broken))
    rows = json_lines(*(observation(i, label=i % 2 == 0) for i in range(50)))
    assert terminal.run(empty, "produce", "shop.py", stdin=rows).code == 0
    for _ in range(2):  # a later run says it again
        ended = terminal.run(empty, "run", "shop.py", "--until-end")
        assert ended.code == 0
        said = [json.loads(line) for line in ended.err.splitlines()]
        [failed] = [line for line in said if line["event"] == "version_failed"]
        assert (failed["version"], failed["partition"]) == ("v2", 0)
        assert "in a row" in failed["why"]
    none = terminal.run(empty, "dead-letters", "shop")
    assert (none.out, none.err) == ("", "shop has no dead letters.\n")
    failures = terminal.run(empty, "dead-letters", "shop", "--version", "v2", "--json").json()
    assert {(row["kind"], row["version"]) for row in failures} == {("model_failure", "v2")}
    head, *shown = terminal.run(empty, "dead-letters", "shop", "--version", "v2").out.splitlines()
    assert head.startswith("POSITION")
    assert len(shown) == len(failures) > 10
    none = terminal.run(empty, "dead-letters", "shop", "--version", "v1")
    assert none.err == "shop has no failed calls of v1.\n"
    wrong = terminal.run(empty, "dead-letters", "shop", "--version", "v22")
    assert_error(wrong, 2, "no version 'v22', only v1, v2; did you mean v2?")


def test_the_installed_program_runs_under_a_fixed_hash_seed_and_logs_json(shop: Path) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text + "\nimport os\nprint(os.environ['PYTHONHASHSEED'])\n")
    ended = real(shop, "run", "shop.py", "--until-end", PYTHONHASHSEED="17")
    assert (ended.code, ended.out) == (0, "0\n")
    events = [json.loads(line)["event"] for line in ended.err.splitlines()]
    assert events == ["run_started", "progress", "run_ended"]


def test_nothing_is_said_to_have_started_before_the_declaration_was_read(
    empty: Path, terminal: Terminal
) -> None:
    ended = terminal.run(empty, "run", "shop", "--until-end")
    assert_error(ended, 2, "'shop' is a name, and a file is wanted", "Try: shop.py")
    (empty / "shop.py").write_text("pipeline = 3\n")
    broken = terminal.run(empty, "run", "shop.py", "--until-end")
    assert_error(broken, 2, "shop.py is no Pipeline")
    assert "run_started" not in ended.err + broken.err


def test_a_terminal_gets_text_and_ctrl_c_stops_with_a_checkpoint(
    shop: Path, terminal: Terminal
) -> None:
    running = terminal.start(shop, "run", "shop.py", "--log-format", "text")
    running.wait_for(lambda: _owner(shop, terminal) == running.pid)
    ended = running.stop(signal.SIGINT)
    assert ended.code == 130
    assert "run ended" in ended.err
    assert "SIGINT" in ended.err


def test_a_loaded_model_says_what_live_would_say_next(shop: Path, terminal: Terminal) -> None:
    log, state = str(shop / ".stream-app/log.db"), str(shop / ".stream-app/state")
    by_name = load_model("shop", broker=log, state=state)
    by_file = load_model(str(shop / "shop.py"), broker=log, state=state)
    features = {"items": 3, "price": 61.5}
    expected = by_name.predict_proba_one(features)[True]
    assert by_file.predict_proba_one(features)[True] == expected
    event = observation(5000) | {"features": {"price": 61.5, "items": 3, "country": "DE"}}
    terminal.run(shop, "produce", "shop", stdin=json_lines(event))
    terminal.run(shop, "run", "shop.py", "--until-end")
    [prediction] = terminal.run(shop, "consume", "shop.predictions", "--from", str(EVENTS)).json()
    assert prediction["observation_id"] == "o5000"
    assert prediction["probability"] == expected
    shadow = load_model("shop", version="v2", broker=log, state=state)
    assert type(shadow).__name__ == "Perceptron"


def test_a_model_that_is_not_there_is_named(shop: Path) -> None:
    log, state = str(shop / ".stream-app/log.db"), str(shop / ".stream-app/state")
    with pytest.raises(UsageError, match="no pipeline 'shpo'"):
        load_model("shpo", broker=log, state=state)
    with pytest.raises(UsageError, match="no version 'v9'"):
        load_model("shop", version="v9", broker=log, state=state)
    with pytest.raises(UsageError, match="no partition 1"):
        load_model("shop", partition=1, broker=log, state=state)
    with pytest.raises(UsageError, match="one model per pipeline"):
        load_model("shop", key="EWR", broker=log, state=state)
    with pytest.raises(StateUnavailable, match="no state"):
        load_model("shop", broker=log, state=str(shop / "elsewhere"))


def test_before_anything_ran_there_is_no_model_and_nothing_to_compare(
    empty: Path, terminal: Terminal
) -> None:
    sent = terminal.run(empty, "produce", "shop.py", stdin=json_lines(observation(0)))
    assert sent.code == 0
    log, state = str(empty / ".stream-app/log.db"), str(empty / ".stream-app/state")
    with pytest.raises(StateUnavailable, match="shop/0 has no checkpoint yet") as caught:
        load_model("shop", broker=log, state=state)
    assert "stream-app run FILE" in caught.value.attempt
    [line] = terminal.run(empty, "replay", "shop.py").out.splitlines()
    assert "no difference in 0 records" in line


def test_what_is_no_event_is_not_sent(shop: Path) -> None:
    with open_log(str(shop / ".stream-app/log.db")) as client:
        before = client.log.bounds("shop.events", 0)[1]
        for wrong in (observation(8), [observation(8)], "o8", None):
            with pytest.raises(UsageError, match="is no event"):
                client.send(wrong)  # type: ignore[arg-type]
        assert client.log.bounds("shop.events", 0)[1] == before


def test_events_are_held_against_the_gate_before_they_are_sent_when_asked(shop: Path) -> None:
    good = Observation("n1", T0, {"price": 1.0, "items": 2, "country": "DE"})
    bad = Observation("n2", T0, {"pirce": 1.0, "items": 2, "country": "DE"})
    with open_log(str(shop / ".stream-app/log.db")) as client:
        end = client.log.bounds("shop.events", 0)[1]
        with pytest.raises(UsageError, match=r"event 1 would be refused \(missing_feature\)") as no:
            client.send(good, bad, check=True)
        assert "did you mean features.price?" in no.value.problem
        assert client.log.bounds("shop.events", 0)[1] == end
        assert client.send(good, check=True) == [f"shop.events/0@{end}"]
        assert client.send(bad) == [f"shop.events/0@{end + 1}"]  # a dead letter once it is read


def test_a_place_that_no_log_or_topic_has_is_named(shop: Path) -> None:
    with pytest.raises(UsageError, match="None names no log"):
        open_log(None)  # type: ignore[arg-type]
    with open_log(str(shop / ".stream-app/log.db")) as client:
        with pytest.raises(UsageError, match="-3 is no offset"):
            next(client.read("shop.predictions", offset=-3))
        with pytest.raises(UsageError, match="has no partition 1"):
            next(client.read("shop.predictions", partition=1))


def test_lines_that_come_slowly_are_sent_without_waiting_for_more(shop: Path) -> None:
    # A pipe that stays open: what came must be in the log before the next line does.
    log = str(shop / ".stream-app/log.db")
    with (
        subprocess.Popen(
            [PROGRAM, "produce", "shop", "--broker", log],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(),
        ) as process,
        open_log(log) as client,
    ):
        assert process.stdin is not None
        before = client.log.bounds("shop.events", 0)[1]
        process.stdin.write(json_lines(observation(7000)).encode())
        process.stdin.flush()
        assert client.log.wait("shop.events", 0, before, timeout_s=30)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, b"1 event acknowledged in shop.events\n")


def _owner(directory: Path, terminal: Terminal) -> int | None:
    [found] = terminal.run(directory, "status", "shop", "--json").json()
    owner = found["partitions"][0]["owner"]
    return owner and int(owner["pid"])
